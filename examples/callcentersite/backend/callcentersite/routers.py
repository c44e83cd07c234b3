"""Which database a model lives in. The application never writes to the one it does not own."""


class ReadOnly(RuntimeError):
    """Something tried to write to the legacy database."""


class IVRReadOnlyRouter:
    """Sends the models of `ivr` to the legacy database, for reading only; all others to the default one."""

    app = "ivr"

    def db_for_read(self, model, **hints):
        return "ivr" if model._meta.app_label == self.app else None

    def db_for_write(self, model, **hints):
        if model._meta.app_label == self.app:
            raise ReadOnly(f"{model.__name__} belongs to ivr_legacy, which is read only")
        return None

    def allow_relation(self, one, other, **hints):
        return (one._meta.app_label == self.app) == (other._meta.app_label == self.app)

    def allow_migrate(self, db, app_label, **hints):
        return db == "default" and app_label != self.app

"""The guest's two databases as its users see them: do they answer, what is in them."""

import time

import machine
import protocol

ANALYTICS = "iact_analytics"
LEGACY = "ivr_legacy"
USER = "django_user"


class Databases:
    """Both databases of the machine in a folder."""

    def __init__(self, folder, timeout_s=20):
        told = machine.facts(folder)
        self.ports = {ANALYTICS: told["postgres_port"], LEGACY: told["mariadb_port"]}
        self.password = machine.password(folder)
        self.timeout_s = timeout_s

    def ask(self, database, sql, password=None):
        """Rows of the answer."""
        speak = protocol.postgres if database == ANALYTICS else protocol.mariadb
        return speak(self.ports[database], USER, password or self.password, database, sql, self.timeout_s)

    def silence(self):
        """Why one of them cannot be used yet; nothing if both answer."""
        for database in (ANALYTICS, LEGACY):
            try:
                if self.ask(database, "SELECT 1") != [["1"]]:
                    return f"{database}: a wrong answer"
            except (protocol.Silent, protocol.Refused) as error:
                return f"{database}: {error}"
        return None

    def contents(self):
        """Rows of each table, by database."""
        found = {}
        for database, schema in ((ANALYTICS, "public"), (LEGACY, LEGACY)):
            sql = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}' ORDER BY 1"
            tables = [row[0] for row in self.ask(database, sql)]
            quote = '"' if database == ANALYTICS else "`"
            found[database] = {
                table: int(self.ask(database, f"SELECT count(*) FROM {quote}{table}{quote}")[0][0]) for table in tables
            }
        return found


def wait(folder, limit_s, alive=lambda: True):
    """Waits until both databases answer; a `Problem` if they do not in time, or the machine ends."""
    end, pause, why = time.monotonic() + limit_s, 0.1, "it has not started"
    while time.monotonic() < end:
        if not alive():
            raise machine.Problem(f"the machine ended before its databases answered ({why})")
        try:
            why = Databases(folder, 5).silence()
        except machine.Problem as problem:
            why = str(problem)
        if why is None:
            return
        time.sleep(pause)
        pause = min(1, pause * 1.5)
    raise machine.Problem(f"the databases did not answer within {limit_s} s ({why}); the console is in `iact logs vm`")

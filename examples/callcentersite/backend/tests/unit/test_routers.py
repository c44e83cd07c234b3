"""The legacy database is read only, whoever asks."""

import pytest
from analytics.models import AgentDay
from callcentersite.routers import IVRReadOnlyRouter, ReadOnly
from ivr.models import Call

router = IVRReadOnlyRouter()


def test_calls_are_read_from_the_legacy_database_and_all_else_is_not():
    assert (router.db_for_read(Call), router.db_for_read(AgentDay)) == ("ivr", None)


def test_no_call_can_be_written():
    assert router.db_for_write(AgentDay) is None
    with pytest.raises(ReadOnly, match="ivr_legacy"):
        router.db_for_write(Call)
    with pytest.raises(ReadOnly):
        Call(agent="ana").save()


@pytest.mark.parametrize(
    ("db", "app", "allowed"),
    [("default", "analytics", True), ("default", "ivr", False), ("ivr", "analytics", False), ("ivr", "ivr", False)],
)
def test_migrations_touch_only_what_the_site_owns(db, app, allowed):
    assert router.allow_migrate(db, app) is allowed


def test_nothing_points_from_one_database_into_the_other():
    assert router.allow_relation(Call(), Call())
    assert not router.allow_relation(Call(), AgentDay())

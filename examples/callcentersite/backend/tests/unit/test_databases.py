"""What the environment says, and what it may not say."""

import pytest
from callcentersite.databases import CONNECT_TIMEOUT_S, Misconfigured, databases

SECRET = {"DB_PASSWORD": "of-no-server"}


def test_the_default_is_postgresql_beside_the_old_mariadb():
    found = databases(SECRET)
    assert [(d["ENGINE"].rsplit(".", 1)[1], d["NAME"], d["PORT"]) for d in found.values()] == [
        ("postgresql", "iact_analytics", "5432"),
        ("mysql", "ivr_legacy", "3306"),
    ]


@pytest.mark.parametrize("timeout_s", ["7", "0"])
@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_no_statement_waits_for_ever_unless_told_to(engine, timeout_s):
    options = databases({**SECRET, "ANALYTICS_DB_ENGINE": engine, "DB_TIMEOUT_S": timeout_s})["default"]["OPTIONS"]
    assert options["connect_timeout"] == CONNECT_TIMEOUT_S
    if engine == "postgresql":
        assert options["options"] == f"-c statement_timeout={timeout_s}000".replace("=0000", "=0")
    else:
        assert options["read_timeout"] == (int(timeout_s) or None)


def test_what_is_set_is_taken():
    env = {**SECRET, "IVR_DB_HOST": "db.internal", "IVR_DB_PORT": "13306", "IVR_DB_NAME": "old", "TEST_DB_SUFFIX": "_7"}
    ivr = databases(env)["ivr"]
    assert (ivr["HOST"], ivr["PORT"], ivr["NAME"], ivr["TEST"]["NAME"]) == ("db.internal", "13306", "old", "test_old_7")


def test_a_file_needs_neither_server_nor_password():
    found = databases({"ANALYTICS_DB_ENGINE": "sqlite", "ANALYTICS_DB_NAME": "/state/a.sqlite3", "IVR_DB_ENGINE": "sqlite"})
    assert [database["NAME"] for database in found.values()] == ["/state/a.sqlite3", "ivr_legacy.sqlite3"]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "DB_PASSWORD is not set: put it into"),
        ({"DB_PASSWORD": ""}, "DB_PASSWORD is not set"),
        ({**SECRET, "DB_TIMEOUT_S": "5s"}, "DB_TIMEOUT_S is '5s': a number"),
        ({**SECRET, "IVR_DB_ENGINE": "oracle"}, "IVR_DB_ENGINE is 'oracle': one of postgresql, mariadb"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(env, says):
    with pytest.raises(Misconfigured, match=says) as told:
        databases(env)
    assert "of-no-server" not in str(told.value)


def test_the_engine_none_needs_no_password():
    assert databases({"ANALYTICS_DB_ENGINE": "none", "IVR_DB_ENGINE": "none"})["default"]["ENGINE"].endswith("dummy")

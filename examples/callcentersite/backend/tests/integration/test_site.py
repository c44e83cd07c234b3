"""The site with both of its databases."""

import pytest
from analytics.models import AgentDay
from callcentersite.health import check
from django.core.management import call_command
from django.db import connections
from django.db.utils import IntegrityError
from ivr.models import Call

pytestmark = pytest.mark.django_db(databases=["default", "ivr"])


def test_health_names_both_databases_and_their_engines(client):
    answer = client.get("/api/health")
    assert answer.status_code == 200, answer.content
    assert [d["engine"] for d in answer.json()["databases"]] == [connections["default"].vendor, connections["ivr"].vendor]
    assert all(d["ok"] and "error" not in d for d in answer.json()["databases"])


@pytest.mark.parametrize(
    "wrong",
    [{"PASSWORD": "not-the-password"}, {"PORT": "1"}, {"NAME": "no_such_database"}],
    ids=lambda w: next(iter(w)).lower(),
)
@pytest.mark.parametrize("alias", ["default", "ivr"])
def test_a_database_that_does_not_let_in_is_503_without_a_word_about_how(client, settings, caplog, alias, wrong):
    before = dict(connections.settings[alias])
    connections.settings[alias].update(wrong)
    try:
        answer = client.get("/api/health")
    finally:
        connections.settings[alias].clear()
        connections.settings[alias].update(before)
    assert answer.status_code == 503
    sick = [d for d in answer.json()["databases"] if not d["ok"]]
    assert [set(d) for d in sick] == [{"name", "engine", "ok", "ms", "error"}]
    assert before["PASSWORD"] not in answer.content.decode() + caplog.text
    assert "does not answer" in caplog.text
    assert check(alias)["ok"]


def test_calls_become_days_and_the_page_gets_them(client):
    call_command("process_etl", verbosity=0)
    assert client.get("/api/summary").json()["days"] == [
        {"agent": "ana", "day": "2025-03-03", "calls": 2, "answered": 1, "talk_s": 300, "service_level": 50.0},
        {"agent": "luis", "day": "2025-03-03", "calls": 2, "answered": 2, "talk_s": 720, "service_level": 100.0},
    ]


def test_the_same_calls_give_the_same_days_again(capsys):
    call_command("process_etl")
    first = list(AgentDay.objects.order_by("agent").values_list("agent", "day", "calls", "answered", "talk_s"))
    call_command("process_etl")
    assert list(AgentDay.objects.order_by("agent").values_list("agent", "day", "calls", "answered", "talk_s")) == first
    assert capsys.readouterr().out == "2 days of 2 agents\n" * 2


def test_a_dry_run_writes_nothing():
    call_command("process_etl", dry_run=True, verbosity=0)
    assert (Call.objects.count(), AgentDay.objects.count()) == (4, 0)


def test_an_agent_has_one_row_a_day():
    row = {"agent": "ana", "day": "2025-03-03", "calls": 1, "answered": 1}
    AgentDay.objects.create(**row)
    with pytest.raises(IntegrityError):
        AgentDay.objects.create(**row)


def test_a_session_is_kept_in_the_database(client):
    assert [client.get("/api/session-check").json()["visits"] for _ in range(3)] == [1, 2, 3]

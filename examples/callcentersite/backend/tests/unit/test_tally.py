"""How calls become agents' days."""

from datetime import date, datetime, timedelta
from types import SimpleNamespace

import pytest
from analytics.tally import Day, service_level, tally

NOON = datetime(2025, 3, 3, 12)


def call(agent, started, rings_s, talks_s):
    answered = None if rings_s is None else started + timedelta(seconds=rings_s)
    return SimpleNamespace(
        agent=agent, started_at=started, answered_at=answered, ended_at=(answered or started) + timedelta(seconds=talks_s)
    )


def test_calls_are_counted_by_agent_and_day():
    found = tally(
        [
            call("ana", NOON, 5, 60),
            call("ana", NOON, None, 9),
            call("luis", NOON, 1, 30),
            call("ana", NOON + timedelta(days=1), 2, 1),
        ]
    )
    assert found == {
        ("ana", date(2025, 3, 3)): Day(2, 1, 60),
        ("luis", date(2025, 3, 3)): Day(1, 1, 30),
        ("ana", date(2025, 3, 4)): Day(1, 1, 1),
    }


def test_a_call_belongs_to_the_day_it_started():
    late = datetime(2025, 3, 3, 23, 59, 59)
    assert list(tally([call("ana", late, 10, 600)])) == [("ana", date(2025, 3, 3))]


def test_an_answer_after_the_end_is_none():
    odd = SimpleNamespace(agent="ana", started_at=NOON, answered_at=NOON + timedelta(hours=1), ended_at=NOON)
    assert tally([odd]) == {("ana", NOON.date()): Day(1, 0, 0)}


def test_no_calls_are_no_days():
    assert tally([]) == {}


@pytest.mark.parametrize(("calls", "answered", "level"), [(0, 0, None), (3, 2, 66.7), (4, 4, 100.0), (5, 0, 0.0)])
def test_service_level_is_a_rounded_percentage(calls, answered, level):
    assert service_level(calls, answered) == level

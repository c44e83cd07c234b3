"""From calls to agents' days: arithmetic only, no database."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass
class Day:
    """What one agent did on one day."""

    calls: int = 0
    answered: int = 0
    talk_s: int = 0


def tally(calls: Iterable[Any]) -> dict[tuple[str, date], Day]:
    """Calls counted by agent and by the day they started. A call that ends before it is answered counts as not answered."""
    days: dict[tuple[str, date], Day] = defaultdict(Day)
    for call in calls:
        day = days[call.agent, call.started_at.date()]
        day.calls += 1
        if call.answered_at is not None and call.answered_at <= call.ended_at:
            day.answered += 1
            day.talk_s += int((call.ended_at - call.answered_at).total_seconds())
    return dict(days)


def service_level(calls: int, answered: int) -> float | None:
    """Percent of the calls that were answered; nothing to say about no calls."""
    return round(100 * answered / calls, 1) if calls else None

"""What the page shows."""

from django.http import JsonResponse
from django.views.decorators.http import require_GET

from analytics.models import AgentDay
from analytics.tally import service_level


@require_GET
def summary(_request):
    """Every agent's days, the latest first."""
    days = AgentDay.objects.order_by("-day", "agent")[:500]
    return JsonResponse(
        {
            "days": [
                {
                    "agent": row.agent,
                    "day": row.day.isoformat(),
                    "calls": row.calls,
                    "answered": row.answered,
                    "talk_s": row.talk_s,
                    "service_level": service_level(row.calls, row.answered),
                }
                for row in days
            ]
        }
    )

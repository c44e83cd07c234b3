"""What the site makes of the calls: one row for each agent and day."""

from django.db import models


class AgentDay(models.Model):
    """An agent's day. Rates are computed when shown, never stored."""

    agent = models.CharField(max_length=40)
    day = models.DateField()
    calls = models.PositiveIntegerField()
    answered = models.PositiveIntegerField()
    talk_s = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "day"], name="one_row_an_agent_and_day")]
        indexes = [models.Index(fields=["day"], name="agent_day_by_day")]

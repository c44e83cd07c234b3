"""Calls as the old telephone system leaves them. Its tables are its own: nothing here makes or changes them."""

from django.db import models


class Call(models.Model):
    """One call. `answered_at` stays empty if the caller gave up."""

    agent = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "calls"

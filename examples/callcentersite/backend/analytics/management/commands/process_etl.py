"""`manage.py process_etl [--dry-run]`: reads the calls of ivr_legacy, writes the agents' days of iact_analytics."""

from django.core.management.base import BaseCommand
from django.db import transaction
from ivr.models import Call

from analytics.models import AgentDay
from analytics.tally import tally


class Command(BaseCommand):
    """All days anew, in one transaction: whoever reads meanwhile sees the old ones."""

    help = "compute the agents' days from the calls of ivr_legacy"

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="count only, write nothing")

    def handle(self, *args, dry_run, **options):
        days = tally(Call.objects.order_by("id").iterator(chunk_size=2000))
        if not dry_run:
            rows = [AgentDay(agent=agent, day=day, **vars(found)) for (agent, day), found in sorted(days.items())]
            with transaction.atomic():
                AgentDay.objects.all().delete()
                AgentDay.objects.bulk_create(rows, batch_size=500)
        self.stdout.write(f"{len(days)} days of {len({agent for agent, _ in days})} agents")

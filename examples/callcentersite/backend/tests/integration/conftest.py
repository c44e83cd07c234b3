"""Real databases: the environment says which, Django makes the test's own inside them."""

from pathlib import Path

import pytest
from django.db import connections

SCHEMA = Path(__file__).parents[2] / "ivr" / "schema.sql"


def statements(text):
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The legacy tables and a day of calls, which no migration of the site makes."""
    with django_db_blocker.unblock(), connections["ivr"].cursor() as cursor:
        for statement in statements(SCHEMA.read_text()):
            cursor.execute(statement)

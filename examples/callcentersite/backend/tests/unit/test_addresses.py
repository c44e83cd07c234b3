"""What the site answers without any database."""

import pytest


def test_alive_needs_no_database(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["ok"]) == (200, True)


@pytest.mark.parametrize("address", ["/healthz", "/api/health", "/api/summary"])
def test_only_reading_is_allowed(client, address):
    assert client.post(address).status_code == 405


def test_an_unknown_address_is_404(client):
    assert client.get("/api/nothing").status_code == 404

"""The page as a person sees it: a real server, real databases, a real browser. `BASE_URL` says where the site is."""

import json
import os
import urllib.request

import pytest
from webdriver import Browser

BASE_URL = os.environ["BASE_URL"]


@pytest.fixture(scope="module")
def page():
    with Browser() as browser:
        browser.open(BASE_URL + "/")
        browser.until("return document.querySelector('#health')?.dataset.asked > 0")
        yield browser


def test_the_page_tells_that_both_databases_answer(page):
    assert page.text("#health") == ["all databases answer"]
    assert page.text("#databases li") == ["iact_analytics: answers", "ivr_legacy: answers"]


def test_the_table_shows_what_the_summary_says(page):
    with urllib.request.urlopen(BASE_URL + "/api/summary", timeout=10) as answer:
        days = json.load(answer)["days"]
    assert len(days) > 0
    rows = [cells.split("\t") for cells in page.text("#days tbody tr")]
    assert [(r[0], r[1], r[2]) for r in rows] == [(d["agent"], d["day"], str(d["calls"])) for d in days]


def test_the_button_asks_again(page):
    before = int(page.run("return document.querySelector('#health').dataset.asked"))
    page.click("#refresh")
    page.until(f"return Number(document.querySelector('#health').dataset.asked) === {before + 1}")
    assert page.text("#health") == ["all databases answer"]

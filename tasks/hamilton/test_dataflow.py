"""The dataflow with the deterministic model, node by node and whole; the network's model against a server on loopback."""

import json
import subprocess
import sys
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dataflow
import driver
import pytest
from model import Deterministic, Network, Refused, tokens

HERE = Path(__file__).resolve().parent
CALLS = (HERE / "data/calls.csv").read_text()
HEADER = "call,queue,waited_s,answered\n"


def test_the_whole_flow_is_the_same_each_time():
    reports = [driver.run(CALLS, Deterministic(), Decimal("0.5"), Decimal("1.5")) for _ in range(2)]
    assert reports[0] == reports[1]
    assert reports[0]["answer"] == "Look at support first: callers wait 205 s."
    assert reports[0]["queues"][2] == {"queue": "support", "calls": 4, "mean_wait_s": 205.0, "lost": 2, "lost_share": 0.5}
    expected = (reports[0]["tokens_in"] * Decimal("0.5") + reports[0]["tokens_out"] * Decimal("1.5")) / 1_000_000
    assert Decimal(reports[0]["cost_usd"]) == expected > 0


def test_the_order_of_calls_changes_nothing():
    header, *rows = CALLS.splitlines()
    turned = "\n".join([header, *reversed(rows)])
    assert dataflow.prompt(dataflow.figures(dataflow.calls(turned)), "?") == dataflow.prompt(
        dataflow.figures(dataflow.calls(CALLS)), "?"
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "No columns"),
        ("a,b\n1,2\n", "expected the columns"),
        (HEADER, "there are no calls"),
        (HEADER + "1,sales,-3,yes\n", "call 1 cannot be understood"),
        (HEADER + "1,sales,3,maybe\n", "call 1 cannot be understood"),
        (HEADER + "1,sales,3,yes\n2,,3,yes\n", "call 2 cannot be understood"),
    ],
)
def test_calls_that_are_not_understood_are_refused(written, told):
    with pytest.raises(ValueError, match=told):
        dataflow.calls(written)


def test_the_prompt_has_every_queue_and_the_question():
    said = dataflow.prompt(dataflow.figures(dataflow.calls(CALLS)), "Why?")
    assert said.endswith("\n\nWhy?")
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("- ")] == ["- billing", "- sales", "- support"]


def test_a_tie_goes_to_the_first_name_and_no_figures_are_refused():
    assert Deterministic().ask("- b: 1 calls, mean wait 5 s\n- a: 1 calls, mean wait 5 s").text.startswith("Look at a first")
    with pytest.raises(Refused, match="no figures"):
        Deterministic().ask("hello")


def test_tokens_are_words_numbers_and_signs():
    assert tokens("It's 205 s.") == 6


class Chat(BaseHTTPRequestHandler):
    """Answers one chat completion, or what `reply` says instead."""

    reply = (200, {"choices": [{"message": {"content": "Support."}}], "usage": {"prompt_tokens": 70, "completion_tokens": 2}})
    seen = []

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers["Authorization"], asked["model"], asked["temperature"]))
        status, body = self.reply
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def chat():
    kind = type("Chat", (Chat,), {"seen": []})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", kind
        server.shutdown()
        thread.join()


def test_a_model_behind_a_url_is_asked_once_and_its_own_count_is_paid(chat):
    url, kind = chat
    report = driver.run(CALLS, Network("small", url, "key"), Decimal(1), Decimal(2))
    assert kind.seen == [("/v1/chat/completions", "Bearer key", "small", 0)]
    assert (report["answer"], report["model"], report["cost_usd"]) == ("Support.", "small", "0.00007400")


@pytest.mark.parametrize(
    ("reply", "told"),
    [((401, {}), "is LLM_API_KEY right"), ((503, {}), "try again later"), ((200, {"choices": []}), "no chat completion")],
)
def test_what_a_server_refuses_is_told_without_the_key(chat, reply, told):
    url, kind = chat
    kind.reply = reply
    with pytest.raises(Refused, match=told) as refused:
        Network("small", url, "s3cr3t-key").ask("?")
    assert "s3cr3t-key" not in str(refused.value)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(Refused, match="does not answer"):
        Network("small", "http://127.0.0.1:9/v1", "key", timeout_s=2).ask("?")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["CALLS", "OUT", "deterministic", "0.5", "1.5"], 0, "Look at support first"),
        (["CALLS", "OUT", "gpt-x", "0.5", "1.5"], 2, "iact build hamilton-network llm=gpt-x"),
        (["CALLS", "OUT", "gpt-x", "0.5", "1.5", "http://127.0.0.1:9"], 2, "LLM_API_KEY is not set"),
        (["CALLS", "OUT", "deterministic", "cheap", "1.5"], 2, "prices are numbers"),
        (["absent.csv", "OUT", "deterministic", "1", "1"], 2, "absent.csv: No such file"),
        (["CALLS"], 2, "usage"),
    ],
)
def test_the_command_line(tmp_path, words, code, told):
    places = {"CALLS": str(HERE / "data/calls.csv"), "OUT": str(tmp_path / "report.json")}
    command = [sys.executable, str(HERE / "driver.py"), *(places.get(word, word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == code and told in done.stdout + done.stderr, done
    assert [file.name for file in tmp_path.iterdir()] == (["report.json"] if code == 0 else [])

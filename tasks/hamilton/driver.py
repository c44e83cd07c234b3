"""Runs the dataflow of dataflow.py over a file of calls, and writes its report.

    python driver.py CALLS REPORT MODEL PRICE_IN PRICE_OUT [URL]

CALLS   a CSV file with call,queue,waited_s,answered
REPORT  a JSON file, written whole or not at all
MODEL   `deterministic`, or with a URL the name of a model there; its key is in $LLM_API_KEY
PRICE_* US dollars for a million tokens, what is asked and what is answered
"""

import json
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

os.environ.setdefault("HAMILTON_TELEMETRY_ENABLED", "false")

import dataflow  # noqa: E402
from hamilton import driver  # noqa: E402
from model import Deterministic, Network, Refused  # noqa: E402

QUESTION = "Which queue needs attention first, and why? One sentence."


class Misused(Exception):
    """What was asked for makes no sense; the text says what does."""


def model_of(name, url):
    """The model that is meant; a network is used only if a URL says which."""
    if name == "deterministic":
        return Deterministic()
    if not url:
        raise Misused(
            f"`{name}` is behind a network, which is used only when asked: iact build hamilton-network llm={name} llm_url=…"
        )
    if not os.environ.get("LLM_API_KEY"):
        raise Misused("LLM_API_KEY is not set")
    return Network(name, url, os.environ["LLM_API_KEY"])


def prices(*written):
    try:
        return [Decimal(text) for text in written]
    except InvalidOperation:
        raise Misused(f"prices are numbers, not `{'`, `'.join(written)}`") from None


def run(calls_csv, model, price_in, price_out):
    """The report of the dataflow."""
    flow = driver.Builder().with_modules(dataflow).build()
    inputs = {
        "calls_csv": calls_csv,
        "question": QUESTION,
        "model": model,
        "price_in_usd": price_in,
        "price_out_usd": price_out,
    }
    return flow.execute(["report"], inputs=inputs)["report"]


def main(words):
    if len(words) not in (5, 6):
        print("usage: driver.py CALLS REPORT MODEL PRICE_IN PRICE_OUT [URL]", file=sys.stderr)
        return 2
    try:
        report = run(Path(words[0]).read_text(), model_of(words[2], words[5] if words[5:] else ""), *prices(*words[3:5]))
    except Misused as why:
        print(f"driver.py: {why}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"driver.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (Refused, ValueError) as why:
        print(f"driver.py: {why}", file=sys.stderr)
        return 1
    output = Path(words[1])
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(output)
    print(f"{report['answer']} ({report['tokens_in']} + {report['tokens_out']} tokens, ${report['cost_usd']})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

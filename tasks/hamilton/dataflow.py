"""Calls → figures → prompt → answer → cost, as a Hamilton dataflow: each function is a node, its parameters are its edges.

Every node is a pure function of what it takes; the world (a file, a model) comes in as `calls_csv` and `model`.
"""

import io
from decimal import Decimal

import pandas as pd
from model import Answer, Model

COLUMNS = ["call", "queue", "waited_s", "answered"]


def calls(calls_csv: str) -> pd.DataFrame:
    """One row for each call; what is not understood is refused, never dropped."""
    table = pd.read_csv(io.StringIO(calls_csv), dtype=str, keep_default_na=False)
    if list(table.columns) != COLUMNS:
        raise ValueError(f"expected the columns {','.join(COLUMNS)}, got {','.join(table.columns)}")
    if table.empty:
        raise ValueError("there are no calls")
    strange = table[~table.answered.isin(["yes", "no"]) | ~table.waited_s.str.fullmatch(r"\d+") | (table.queue == "")]
    if not strange.empty:
        raise ValueError(f"call {strange.call.iloc[0]} cannot be understood: {','.join(strange.iloc[0])}")
    return table.assign(waited_s=table.waited_s.astype(int), answered=table.answered == "yes")


def figures(calls: pd.DataFrame) -> pd.DataFrame:
    """How each queue does, in the order of their names."""
    grouped = calls.groupby("queue", sort=True)
    counted = grouped.agg(
        calls=("call", "size"), mean_wait_s=("waited_s", "mean"), lost=("answered", lambda all_: (~all_).sum())
    )
    return counted.assign(lost_share=counted.lost / counted.calls).reset_index()


def prompt(figures: pd.DataFrame, question: str) -> str:
    """What the model is asked: the figures and one question."""
    lines = [
        f"- {row.queue}: {row.calls} calls, mean wait {row.mean_wait_s:.0f} s, {row.lost_share:.0%} lost"
        for row in figures.itertuples()
    ]
    return "\n".join(["You read figures of a call centre.", "", *lines, "", question])


def answer(prompt: str, model: Model) -> Answer:
    """What the model says, with the tokens it counted."""
    return model.ask(prompt)


def cost_usd(answer: Answer, price_in_usd: Decimal, price_out_usd: Decimal) -> Decimal:
    """Price of the tokens; prices are for a million of them."""
    return (answer.tokens_in * price_in_usd + answer.tokens_out * price_out_usd) / 1_000_000


def report(figures: pd.DataFrame, answer: Answer, cost_usd: Decimal, model: Model) -> dict:
    """What is kept of it all."""
    return {
        "schema": 1,
        "model": model.name,
        "queues": figures.round(4).to_dict("records"),
        "answer": answer.text,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "cost_usd": f"{cost_usd:.8f}",
    }

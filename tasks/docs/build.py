#!/usr/bin/env python3
"""Renders the pages and the operations handbook as HTML that needs no network.

    build.py OUT IACTFILE PAGE...     OUT/index.html is the first page, OUT/handbook.html the targets of IACTFILE by group

Links between the pages lead to the rendered ones, other links inside the repository stay as text. The same pages make the
same bytes. Needs Python 3.11 and the packages of tasks/python/lint.txt.
"""

import html
import pathlib
import re
import sys
import tomllib

from markdown_it import MarkdownIt

STYLE = """body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; } code { font-size: .9em; }
table { border-collapse: collapse; } td, th { border: 1px solid #ccc; padding: .2rem .6rem; text-align: left; }
nav { border-bottom: 1px solid #ccc; }"""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def notes(target: dict) -> str:
    """What somebody who calls it should know beforehand."""
    said = []
    if "confirm" in target:
        said.append("asks first")
    if "secrets" in target:
        said.append("secrets: " + ", ".join(target["secrets"]))
    if "services" in target:
        said.append("starts " + ", ".join(target["services"]))
    if "valid_for" in target:
        said.append("anew after " + target["valid_for"])
    if "retain" in target:
        said.append("earlier results are kept")
    said += [f"needs {row['tool']}" for row in target.get("requires", []) if "tool" in row]
    return "; ".join(said)


def handbook(iactfile: pathlib.Path) -> str:
    """The targets by group, in the order of the Iactfile."""
    groups = {}
    for name, target in tomllib.loads(iactfile.read_text(encoding="utf-8"))["target"].items():
        groups.setdefault(target.get("group", "other"), []).append((name, target))
    lines = [
        "# Operations handbook",
        "",
        f"What `{iactfile.name}` can do. `iact show TARGET` tells more, `iact TARGET` does it.",
    ]
    for group, members in groups.items():
        lines += ["", f"## {group}", "", "| target | what it does | to know |", "|---|---|---|"]
        for name, target in members:
            lines.append(f"| `{name}` | {cell(target.get('description', ''))} | {cell(notes(target))} |")
    return "\n".join(lines) + "\n"


def output_name(page: str) -> str:
    return page.removesuffix(".md").replace("/", "-").lower() + ".html"


def anchor(title: str) -> str:
    """The name GitHub gives a heading."""
    return "".join(c for c in title.lower() if c.isalnum() or c in " -_").replace(" ", "-")


def render(text: str, page: str, names: dict) -> str:
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[at + 1].content.replace("`", "")))
        for inner in token.children or []:
            if inner.type == "link_open":
                inner.attrSet("href", rendered(str(inner.attrGet("href")), page, names))
    return parser.renderer.render(tokens, parser.options, {})


def rendered(link: str, page: str, names: dict) -> str:
    path, mark, heading = link.partition("#")
    folder = pathlib.PurePosixPath(page).parent
    name = names.get(str(folder / path)) or names.get(re.sub(r"[^/]+/\.\./", "", str(folder / path)))
    return name + mark + heading if path and name else link


def whole(title: str, body: str, names: dict) -> str:
    links = " · ".join(f'<a href="{name}">{html.escape(page)}</a>' for page, name in names.items())
    style = f"\n<style>\n{STYLE}\n</style>\n"
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>{style}'
    return f"{head}<nav>{links}</nav>\n{body}</html>\n"


def main(words: list) -> int:
    if len(words) < 3:
        print("usage: build.py OUT IACTFILE PAGE...", file=sys.stderr)
        return 2
    out, iactfile, pages = pathlib.Path(words[0]), pathlib.Path(words[1]), words[2:]
    names = {page: output_name(page) for page in pages}
    names[pages[0]] = "index.html"
    texts = {page: pathlib.Path(page).read_text(encoding="utf-8") for page in pages}
    names["handbook"], texts["handbook"] = "handbook.html", handbook(iactfile)
    out.mkdir(parents=True, exist_ok=True)
    for page, text in texts.items():
        title = next((line[2:] for line in text.split("\n") if line.startswith("# ")), page)
        (out / names[page]).write_text(whole(title, render(text, page, names), names), encoding="utf-8")
    print(f"{len(texts)} pages in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

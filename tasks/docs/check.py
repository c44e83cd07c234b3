#!/usr/bin/env python3
"""Checks the links and the code blocks of Markdown pages.

    check.py [--depfile FILE STAMP] PAGE...

Links: what a link without `scheme:` names is there, and so is the heading after its `#`. Nothing is fetched; of
addresses only `http:` is refused, where https exists. Blocks: toml, json, yaml, python and ini parse, sh, bash and
console are shell (`bash -n`; of console the lines after `$ `), any other language is left alone. With `--depfile` the
pages and everything they link to is written to FILE, as make would read it. Exit 1 if something is wrong.
Needs Python 3.11 and bash; for yaml the packages of tasks/python/lint.txt.
"""

import ast
import configparser
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

FENCE = re.compile(r"^( *)(`{3,}|~{3,}) *([\w+-]*)")
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*\]\(<?([^()<>\s]*(?:\([^()\s]*\)[^()\s]*)*)>?(?: +\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")


class Page:
    """A page taken apart: its links, headings and code blocks, each with its line."""

    def __init__(self, path: str):
        self.links, self.blocks, self.anchors = [], [], set()
        fence, indent = None, 0
        for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").split("\n"), 1):
            mark = FENCE.match(line)
            if fence is not None:
                if mark and mark[2].startswith(fence) and not mark[3]:
                    fence = None
                else:
                    self.blocks[-1][2].append(line[indent:] if line[:indent].isspace() else line)
            elif mark:
                indent, fence = len(mark[1]), mark[2]
                self.blocks.append((number, mark[3].lower(), []))
            else:
                self.prose(number, line)

    def prose(self, number: int, line: str):
        heading = HEADING.match(line)
        if heading:
            self.anchors.add(self.unique(anchor(heading[1])))
        bare = re.sub(r"`[^`]*`", lambda code: "`" + "x" * (len(code[0]) - 2) + "`", line)
        self.links += [(number, link[1]) for link in LINK.finditer(bare)]

    def unique(self, name: str) -> str:
        names = (name if again == 0 else f"{name}-{again}" for again in range(len(self.anchors) + 1))
        return next(name for name in names if name not in self.anchors)


def anchor(title: str) -> str:
    """The name GitHub gives a heading."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    return "".join(c for c in title if c.isalnum() or c in " -_").replace(" ", "-")


def console(text: str) -> str:
    return "\n".join(line[2:] for line in text.split("\n") if line.startswith("$ "))


def shell(text: str):
    said = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if said.returncode != 0:
        raise ValueError(said.stderr.strip().removeprefix("bash: "))


def yaml(text: str):
    import yaml as parser

    list(parser.safe_load_all(text))


def json_lines(text: str):
    try:
        json.loads(text)
    except ValueError:
        for line in filter(str.strip, text.split("\n")):
            json.loads(line)


def ini(text: str):
    configparser.ConfigParser(interpolation=None).read_string(text)


LANGUAGES = {
    "toml": tomllib.loads,
    "json": json_lines,
    "yaml": yaml,
    "yml": yaml,
    "python": ast.parse,
    "py": ast.parse,
    "ini": ini,
    "sh": shell,
    "bash": shell,
    "console": lambda text: shell(console(text)),
}


class Check:
    def __init__(self):
        self.wrong, self.pages, self.linked = 0, {}, set()

    def tell(self, place: str, message):
        print(f"{place}: {message}", file=sys.stderr)
        self.wrong += 1

    def page(self, path: str) -> Page:
        if path not in self.pages:
            self.pages[path] = Page(path)
        return self.pages[path]

    def link(self, path: str, number: int, link: str):
        if link.startswith("http://") and not link.startswith(("http://127.0.0.1", "http://localhost")):
            return self.tell(f"{path}:{number}", f"`{link}` is not encrypted")
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            return
        name, _, heading = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        if not os.path.exists(target):
            return self.tell(f"{path}:{number}", f"`{link}` leads nowhere")
        self.linked.add(target)
        if heading and target.endswith(".md") and heading not in self.page(target).anchors:
            self.tell(f"{path}:{number}", f"`{link}`: no such heading")

    def all(self, path: str):
        page = self.page(path)
        for number, link in page.links:
            self.link(path, number, link)
        for number, language, lines in page.blocks:
            try:
                LANGUAGES.get(language, lambda text: None)("\n".join(lines))
            except Exception as error:  # every parser has errors of its own
                self.tell(f"{path}:{number}", f"this block is no {language}: {error}")


def main(words: list) -> int:
    depfile = stamp = None
    if words[:1] == ["--depfile"] and len(words) > 2:
        depfile, stamp, words = words[1], words[2], words[3:]
    if not words:
        print("usage: check.py [--depfile FILE STAMP] PAGE...", file=sys.stderr)
        return 2
    check = Check()
    for path in words:
        check.all(path)
    if depfile:
        files = sorted(path for path in check.linked | set(check.pages) if os.path.isfile(path))
        escaped = [path.replace(" ", "\\ ") for path in files]
        pathlib.Path(depfile).write_text(f"{stamp}: {' '.join(escaped)}\n", encoding="utf-8")
    pages, links = len(words), sum(len(page.links) for page in check.pages.values())
    blocks = sum(len(page.blocks) for page in check.pages.values())
    print(f"{pages} pages, {links} links, {blocks} blocks, {check.wrong} wrong")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

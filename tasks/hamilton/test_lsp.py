"""Hamilton's language server over its own protocol: a real process, spoken to as an editor does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FLOW = (HERE / "dataflow.py").read_text()
SMALL = "def doubled(amount: int) -> int:\n    '''Twice as much.'''\n    return 2 * amount\n\n\ndef shown(doubled: int) -> str:\n    return str(doubled)\n"
LIMIT_S = 60


class Editor:
    """The other end of the protocol: requests with numbers, notifications without."""

    def __init__(self, folder):
        command = [sys.executable, str(HERE / "language_server.py")]
        self.log = open(folder / "stderr", "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, cwd=folder)
        self.uri, self.number, self.version = (folder / "flow.py").as_uri(), 0, 0
        self.capabilities = self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})["capabilities"]
        self.tell("initialized", {})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0"} | message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while (line := self.process.stdout.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        assert length, "the server closed its end"
        return json.loads(self.process.stdout.read(length))

    def tell(self, method, parameters):
        self.send({"method": method, "params": parameters})

    def ask(self, method, parameters):
        self.number += 1
        self.send({"id": self.number, "method": method, "params": parameters})
        while True:
            message = self.receive()
            if message.get("id") == self.number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def show(self, text):
        """Opens the document, or replaces what is in it."""
        self.version += 1
        document = {"uri": self.uri, "version": self.version}
        if self.version == 1:
            self.tell("textDocument/didOpen", {"textDocument": document | {"languageId": "python", "text": text}})
        else:
            self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    def completions(self):
        asked = {"textDocument": {"uri": self.uri}, "position": {"line": 0, "character": 0}}
        return {item["label"]: item for item in self.ask("textDocument/completion", asked)["items"]}

    def symbols(self):
        return self.ask("textDocument/documentSymbol", {"textDocument": {"uri": self.uri}})

    def leave(self):
        """As the protocol wants it; the exit code."""
        self.ask("shutdown", None)
        self.tell("exit", None)
        self.process.stdin.close()
        return self.process.wait(LIMIT_S)


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    one = Editor(tmp_path_factory.mktemp("editor"))
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        for end in (one.process.stdin, one.process.stdout, one.log):
            end.close()


def test_nodes_are_completed_with_their_types(editor):
    editor.show(SMALL)
    found = editor.completions()
    assert sorted(found) == ["amount", "doubled", "shown"]
    assert found["doubled"]["insertText"] == "doubled: int"
    assert found["doubled"]["documentation"] == "Twice as much."


def test_functions_and_inputs_are_symbols_of_two_kinds(editor):
    editor.show(SMALL)
    kinds = {symbol["name"]: symbol["kind"] for symbol in editor.symbols()}
    assert kinds["doubled"] == kinds["shown"] == 12
    assert kinds["amount"] == 8


def test_an_edit_is_seen_and_a_broken_one_keeps_the_last_good_graph(editor):
    editor.show(SMALL)
    editor.show(SMALL + "\n\ndef said(shown: str) -> str:\n    return shown\n")
    assert "said" in editor.completions()
    editor.show("def broken(:\n")
    assert "said" in editor.completions()


def test_the_dataflow_of_this_folder_is_understood(editor):
    # Its model is another file's; the server imports a document's source by itself.
    alone = FLOW.replace("from model import Answer, Model", "from typing import Any\n\nAnswer = Model = Any")
    editor.show(alone)
    nodes = editor.completions()
    assert {"calls", "figures", "prompt", "answer", "cost_usd", "report"} <= nodes.keys()


def test_the_server_says_what_it_can_and_leaves_when_asked(editor):
    assert {"completionProvider", "documentSymbolProvider"} <= editor.capabilities.keys()
    assert editor.leave() == 0

"""Hamilton's language server over standard input and output, for an editor: `python language_server.py`.

The released server (0.2.0) asks its workspace for a document by a name that pygls 2, which it requires, no longer has.
"""

import os

os.environ.setdefault("HAMILTON_TELEMETRY_ENABLED", "false")

from hamilton_lsp.server import HamiltonLanguageServer, register_server_features  # noqa: E402
from pygls.workspace import Workspace  # noqa: E402

if not hasattr(Workspace, "get_document"):
    Workspace.get_document = Workspace.get_text_document

if __name__ == "__main__":
    register_server_features(HamiltonLanguageServer()).start_io()

"""What is known of one server: its version, its names, its classes. Read at the first need, and anew by each check."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.backends.comfyui.names import ComfyCatalog, read_catalog
from rxpipe.backends.comfyui.nodes import NodeLibrary
from rxpipe.backends.comfyui.server import Server, read_server
from rxpipe.backends.comfyui.validation import graph_problems
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.http.connection import Connection


class Known(NamedTuple):
    """A server, and what it has."""

    server: Server
    catalog: ComfyCatalog


class Knowledge:
    """Safe from any thread; what two threads need at once is read once.

    Args:
        timeout_s: for each question.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.library = NodeLibrary(timeout_s)
        self._known: Known | None = None
        self._lock = threading.Lock()

    def get(self, connection: Connection) -> Known:
        """Return what is known.

        Raises:
            BackendError: no answer, or no ComfyUI.
        """
        with self._lock:
            if self._known is None:
                self._known = self._read(connection)
            return self._known

    def refresh(self, connection: Connection) -> Known:
        """Read everything anew: files may have been added. Raises BackendError as `get` does."""
        with self._lock:
            self.library.forget()
            self._known = self._read(connection)
            return self._known

    def forget(self) -> None:
        """Read everything anew at the next need: the server may be another one."""
        with self._lock:
            self.library.forget()
            self._known = None

    def check_graph(self, connection: Connection, nodes: Nodes) -> None:
        """Check a graph against the server's classes, read anew where it does not fit what was read before.

        Raises:
            BackendRejected: the server would refuse it, or do something else; names each node, value and alternative.
        """
        names = [str(node.get("class_type")) for node in nodes.values()]
        problems = graph_problems(nodes, self.library.get(connection, names))
        if problems:
            self.library.forget()
            problems = graph_problems(nodes, self.library.get(connection, names))
        if problems:
            sentences = (problem if problem.endswith("?") else f"{problem}." for problem in problems)
            raise BackendRejected("\n".join(sentences), hint="`rxpipe doctor` lists what the server has.")

    def _read(self, connection: Connection) -> Known:
        server = read_server(connection, timeout_s=self.timeout_s)
        return Known(server, read_catalog(connection, self.library, server, timeout_s=self.timeout_s))

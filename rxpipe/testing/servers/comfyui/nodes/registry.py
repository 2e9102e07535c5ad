"""The node classes by name, what a node may do while it runs, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from rxpipe.testing.servers.comfyui.files import FileStore
    from rxpipe.testing.servers.drawing import DrawRequest

Values = Mapping[str, Any]
"""The inputs of a node: literals as they were converted, links as what they delivered."""


class NodeError(Exception):
    """An exception inside a node, by the type and text that `execution_error` shows."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Work(Protocol):
    """What a running node may do. Every method may raise Interrupted or ServerGone."""

    @property
    def node_id(self) -> str:
        """The node's id in the graph."""
        ...

    @property
    def files(self) -> FileStore:
        """The server's folders."""
        ...

    def draw(self, request: DrawRequest) -> bytes:
        """Return a picture as PNG."""
        ...

    def load(self, checkpoint: str) -> None:
        """Take the time of loading a checkpoint, if another one is loaded."""
        ...

    def step(self, value: int, of: int, preview: Callable[[], Image] | None) -> None:
        """Take the time of one step of `of`, and report it as the `value`-th, with what it looks like by then."""
        ...

    def sleep(self, seconds: float) -> None:
        """Take time without looking at the interrupt flag, as a careless node does."""
        ...

    def send_picture(self, value: int, of: int, data: bytes) -> None:
        """Send a finished PNG over the socket, `value` of `of` of the node's progress."""
        ...

    def send_plain_picture(self, data: bytes) -> None:
        """Send a finished PNG over the socket without reporting progress, always as event 1."""
        ...

    def send_text(self, text: str) -> None:
        """Send a text over the socket."""
        ...

    def texts(self) -> Mapping[str, str]:
        """Return the text chunks of a saved picture."""
        ...

    def temp_prefix(self) -> str:
        """Return the file name prefix of this node's temporary files."""
        ...

    def faces(self, picture: Image) -> list[tuple[int, int, int, int]]:
        """Return the faces in a picture: left, top, right, bottom in px."""
        ...

    def is_broken(self, name: str) -> bool:
        """Return whether a model file cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What a node returns: its outputs by slot, and what `executed` and the history show of it."""

    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None = None


NodeFunction = Callable[[Work, Values], Result]

NODES: dict[str, NodeFunction] = {}
"""What a class does, by its name; filled by the modules beside this one."""


def node(*names: str) -> Callable[[Callable[[Work, Values], Any]], Callable[[Work, Values], Any]]:
    """Enter a function as what these classes do. It returns a Result, a tuple of outputs, or the only output."""

    def enter(function: Callable[[Work, Values], Any]) -> Callable[[Work, Values], Any]:
        def run(work: Work, values: Values) -> Result:
            made = function(work, values)
            return made if isinstance(made, Result) else Result(made if isinstance(made, Several) else (made,))

        for name in names:
            NODES[name] = run
        return function

    return enter


class Several(tuple[Any, ...]):
    """The outputs of a node with several slots; a batch of pictures is a tuple too, and one output."""

    __slots__ = ()

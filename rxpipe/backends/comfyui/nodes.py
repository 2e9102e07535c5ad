"""What a server says of its classes of nodes, read from `/object_info/{class}` in both of its shapes.

Older classes list a choice as [["a", "b"], {...}], newer ones as ["COMBO", {"options": ["a", "b"]}]. Each class is
asked for by itself: the whole answer has megabytes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rxpipe.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rxpipe.backends.http.connection import Connection

NUMBERS = ("INT", "FLOAT")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a class.

    kind: "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", or the type of what is linked to it. options: of a choice, None
    for anything else. upload: files on the server, which the list does not hold completely. default: None for none.
    """

    kind: str
    required: bool = True
    options: tuple[Any, ...] | None = None
    upload: bool = False
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None

    @property
    def is_value(self) -> bool:
        """Whether it is set by a value as a rule, not by a link."""
        return self.options is not None or self.kind in {*NUMBERS, "STRING", "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class NodeClass:
    """One class of nodes. pack: the module that it is from, "nodes" or "comfy_extras..." for ComfyUI's own."""

    name: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[Any, ...] = ()
    is_output: bool = False
    pack: str = ""

    def options(self, name: str) -> tuple[str, ...]:
        """Return the texts that a choice offers, none where it is no choice of the class."""
        spec = self.inputs.get(name)
        return tuple(value for value in (spec.options or () if spec else ()) if isinstance(value, str))


def read_class(name: str, value: Any) -> NodeClass | None:
    """Return a class of an answer; None where it holds none of the name."""
    listed = value.get(name) if isinstance(value, dict) else None
    if not isinstance(listed, dict):
        return None
    given = listed.get("input")
    groups = given if isinstance(given, dict) else {}
    inputs = {
        key: _input(spec, required=group == "required")
        for group in ("optional", "required")
        for key, spec in (groups.get(group) or {}).items()
    }
    outputs = listed.get("output")
    return NodeClass(
        name=name,
        inputs=MappingProxyType(inputs),
        outputs=tuple(outputs) if isinstance(outputs, list) else (),
        is_output=bool(listed.get("output_node")),
        pack=str(listed.get("python_module") or ""),
    )


def _input(spec: Any, *, required: bool) -> InputSpec:
    kind = spec[0] if isinstance(spec, list) and spec else spec
    settings = spec[1] if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else {}
    options = kind if isinstance(kind, list) else settings.get("options") if kind == "COMBO" else None
    default = settings.get("default")
    if default is None and isinstance(options, list) and options:
        default = options[0]
    return InputSpec(
        kind="COMBO" if isinstance(kind, list) else str(kind),
        required=required,
        options=tuple(options) if isinstance(options, list) else None,
        upload=any(settings.get(key) for key in ("image_upload", "video_upload", "audio_upload", "upload")),
        minimum=_number(settings.get("min")),
        maximum=_number(settings.get("max")),
        default=default,
    )


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass
class NodeLibrary:
    """The classes of one server, each read when it is first needed. Safe from any thread.

    timeout_s: for each question.
    """

    timeout_s: float
    _classes: dict[str, NodeClass | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Read everything anew: files may have been added to the server."""
        with self._lock:
            self._classes.clear()

    def get(self, connection: Connection, names: Iterable[str]) -> dict[str, NodeClass | None]:
        """Return classes by name, None for one that the server does not have.

        Raises:
            BackendError: no answer.
        """
        wanted = dict.fromkeys(names)
        with self._lock:
            known = {name: self._classes[name] for name in wanted if name in self._classes}
        for name in wanted:
            if name not in known:
                known[name] = read_class(name, self._ask(connection, name))
        with self._lock:
            self._classes |= known
        return known

    def _ask(self, connection: Connection, name: str) -> Any:
        answer = connection.get_optional(f"/object_info/{quote(name, safe='')}", timeout_s=self.timeout_s)
        return {} if answer is None else answer.json()

    def one(self, connection: Connection, name: str) -> NodeClass | None:
        """Return one class; None where the server does not have it, or fails to say."""
        try:
            return self.get(connection, [name])[name]
        except BackendError:
            return None

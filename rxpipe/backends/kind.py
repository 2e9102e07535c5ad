"""BackendKind: what `open_backend` must know of a kind of backend before it loads one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.backends.base import Backend

Found = Literal["yes", "other", "no"]
"""What a probe found at a port: a server of the kind, another program, nothing."""


@dataclass(frozen=True, slots=True)
class BackendKind:
    """One line of the table of kinds. Making one loads nothing heavy.

    name: as in `Backend.name`. load: imports the adapter and returns what makes a backend: of a URL and options by name
    where the kind has schemes, else of options alone. words: further names that mean the kind.
    schemes: of URLs that mean it. default_port: where its servers usually listen.
    ports: on this machine, where a running server is looked for. probe: looks at one of them: port and seconds.
    title: what is looked for, for people. unrecognised: advice where another program answers.
    examples: what `open_backend` takes for it, for messages. needs: modules of an extra that it is not opened without.
    answers: asks an address, with the options of the backend, whether a server of the kind is there.
    path: the option that the text behind the name and a colon is; further ones follow it as in a URL, ?name=value&...
    """

    name: str
    load: Callable[[], Callable[..., Backend]]
    words: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    default_port: int | None = None
    ports: tuple[int, ...] = ()
    probe: Callable[[int, float], Found] | None = None
    title: str = ""
    unrecognised: str = ""
    examples: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    answers: Callable[[str, Mapping[str, Any]], Found] | None = None
    path: str | None = None

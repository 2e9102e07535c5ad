"""What must be made anew in a child process: a fork copies locks that other threads hold, and none of the threads."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something with threads, locks or sockets of its own."""

    def after_fork(self) -> None:
        """Forget those of the parent, in the child, before anything else runs there."""
        ...


_forkables: WeakSet[Forkable] = WeakSet()


def renew_after_fork(made: Forkable) -> None:
    """Call `made.after_fork()` in every child process that is forked while it exists."""
    _forkables.add(made)


def _renew_all() -> None:
    for made in list(_forkables):
        made.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)

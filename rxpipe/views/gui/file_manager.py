"""Show folders and files in the system's file manager."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from rxpipe.errors import RxPipeError

if TYPE_CHECKING:
    from pathlib import Path


def command(path: Path, platform: str = sys.platform) -> list[str]:
    """Return the command that opens the folder *path*, or a file's folder, the file selected if possible."""
    folder = path if path.is_dir() else path.parent
    if platform == "win32":
        return ["explorer", str(folder)] if path.is_dir() else ["explorer", "/select,", str(path)]
    if platform == "darwin":
        return ["open", str(folder)] if path.is_dir() else ["open", "-R", str(path)]
    return ["xdg-open", str(folder)]


def reveal(path: Path) -> None:
    """Show *path* in the file manager, without waiting for it.

    Raises:
        RxPipeError: there is no such folder, or no file manager.
    """
    if not (path.exists() or path.parent.is_dir()):
        raise RxPipeError(f"{path}: there is no such folder yet.", hint="It is made with the first picture.")
    try:
        subprocess.Popen(  # noqa: S603  # the system's own opener and a path
            command(path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ,
        )
    except OSError as error:
        raise RxPipeError(f"{path}: no file manager could be started: {error.strerror}.") from error

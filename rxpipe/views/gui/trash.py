"""Deleting a picture so that it can be brought back: into the trash of the desktop, or a folder of ours."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import platformdirs

from rxpipe.errors import RxPipeError


def trash_folder(platform: str = sys.platform) -> Path:
    """Return where deleted files go: the desktop's trash on Linux and macOS, a folder of rxpipe's on Windows."""
    if platform == "darwin":
        return Path.home() / ".Trash"
    if platform == "win32":
        return platformdirs.user_data_path("rxpipe", appauthor=False) / "trash"
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "Trash" / "files"


def to_trash(path: Path, folder: Path | None = None) -> Path:
    """Move a file to the trash and return where it is now; it never takes the place of another one.

    On Linux a note beside it says where it came from, so that the desktop can bring it back.

    Raises:
        RxPipeError: it is gone already, or cannot be moved.
    """
    folder = folder or trash_folder()
    path = path.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = _free(folder, path)
        if folder.name == "files":
            _note(folder.parent / "info" / f"{target.name}.trashinfo", path)
        shutil.move(path, target)
    except OSError as error:
        raise RxPipeError(f"{path}: cannot be moved to the trash: {error.strerror or error}.") from error
    return target


def _free(folder: Path, path: Path) -> Path:
    target, number = folder / path.name, 1
    while target.exists():
        number += 1
        target = folder / f"{path.stem} {number}{path.suffix}"
    return target


def _note(note: Path, path: Path) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    when = datetime.now().astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    note.write_text(f"[Trash Info]\nPath={quote(str(path))}\nDeletionDate={when}\n", encoding="utf-8")

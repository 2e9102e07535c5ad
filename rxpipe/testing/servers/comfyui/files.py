"""The server's folders `input`, `output` and `temp`, in memory, with the real one's names and refusals."""

from __future__ import annotations

import hashlib
import posixpath
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal

Kind = Literal["input", "output", "temp"]
KINDS: tuple[Kind, ...] = ("input", "output", "temp")
_ANNOTATED = re.compile(r"(.*?) ?\[(input|output|temp)\]$")


class OutsideFolder(Exception):
    """A path that leaves its folder."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file: its bytes, and when it was written, in ns since the epoch."""

    data: bytes = field(repr=False)
    written_ns: int

    @property
    def etag(self) -> str:
        """The entity tag, in quotes."""
        return f'"{self.written_ns:x}-{len(self.data):x}"'

    @property
    def last_modified(self) -> str:
        """The time of writing as an HTTP date."""
        return formatdate(self.written_ns / 1e9, usegmt=True)


class FileStore:
    """The three folders. Safe from any thread; paths use "/".

    keep_bytes: how much `output` and `temp` hold together; beyond it the oldest pictures are gone.
    """

    def __init__(self, keep_bytes: int = 512 * 1024 * 1024) -> None:
        self._keep_bytes = keep_bytes
        self._saved_bytes = 0
        self._files: dict[tuple[str, str, str], StoredFile] = {}
        self._lock = threading.RLock()

    def read(self, kind: str, subfolder: str, name: str) -> StoredFile | None:
        """Return a file, None where there is none. Raises OutsideFolder."""
        with self._lock:
            return self._files.get((kind, *_place(subfolder, name)))

    def find(self, name: str) -> StoredFile | None:
        """Return the file that a node's input names: `sub/name`, with ` [temp]` or ` [output]` for another folder."""
        kind, plain = split_annotation(name)
        try:
            return self.read(kind, "", plain)
        except OutsideFolder:
            return None

    def write(self, kind: str, subfolder: str, name: str, data: bytes) -> None:
        """Write a file. Raises OutsideFolder."""
        place = (kind, *_place(subfolder, name))
        with self._lock:
            self._forget(place)
            self._files[place] = StoredFile(data, time.time_ns())
            self._saved_bytes += len(data) if kind != "input" else 0
            while self._saved_bytes > self._keep_bytes:
                self._forget(next(old for old in self._files if old[0] != "input"))

    def _forget(self, place: tuple[str, str, str]) -> None:
        file = self._files.pop(place, None)
        if file is not None and place[0] != "input":
            self._saved_bytes -= len(file.data)

    def upload(self, kind: str, subfolder: str, name: str, data: bytes, *, overwrite: bool) -> str:
        """Write an uploaded file and return its name: another one where other bytes have this name already.

        Raises:
            OutsideFolder: it would be written elsewhere.
        """
        stem, suffix = posixpath.splitext(name)
        with self._lock:
            number = 0
            while not overwrite and (there := self.read(kind, subfolder, name)) is not None:
                if hashlib.sha256(there.data).digest() == hashlib.sha256(data).digest():
                    return name
                number += 1
                name = f"{stem} ({number}){suffix}"
            self.write(kind, subfolder, name, data)
        return name

    def save(self, kind: str, subfolder: str, stem: str, pictures: list[bytes]) -> list[str]:
        """Write pictures as `STEM_00001_.png` and on, counted from the highest there, and return their names.

        `%batch_num%` in the stem is the picture's place.
        """
        with self._lock:
            counter = self._highest(kind, subfolder, stem) + 1
            names = [
                f"{stem.replace('%batch_num%', str(place))}_{counter + place:05}_.png" for place in range(len(pictures))
            ]
            for name, data in zip(names, pictures, strict=True):
                self.write(kind, subfolder, name, data)
        return names

    def _highest(self, kind: str, subfolder: str, stem: str) -> int:
        number = re.compile(re.escape(stem).replace("%batch_num%", r"\d+") + r"_(\d+)_?\.")
        folder, _ = _place(subfolder, "x")
        return max(
            (
                int(found[1])
                for one, there, name in self._files
                if (one, there) == (kind, folder) and (found := number.match(name))
            ),
            default=0,
        )

    def delete(self, kind: str, subfolder: str, name: str) -> None:
        """Delete a file, as somebody at the server's console does. Does nothing where there is none."""
        with self._lock:
            self._forget((kind, *_place(subfolder, name)))

    def empty_temp(self) -> None:
        """Empty the temporary folder, as the server does when it starts."""
        with self._lock:
            for place in [place for place in self._files if place[0] == "temp"]:
                self._forget(place)

    def names(self, kind: str) -> list[str]:
        """Return the names of the files directly in a folder, sorted: what a node's list shows."""
        with self._lock:
            return sorted(name for one, folder, name in self._files if one == kind and not folder)

    def paths(self, kind: str) -> list[str]:
        """Return `sub/name` of every file of a folder, sorted."""
        with self._lock:
            return sorted(posixpath.join(folder, name) for one, folder, name in self._files if one == kind)


def split_annotation(name: str) -> tuple[str, str]:
    """Return folder and plain name of an annotated one: "a.png [temp]" is ("temp", "a.png")."""
    found = _ANNOTATED.match(name)
    return (found[2], found[1]) if found else ("input", name)


def _place(subfolder: str, name: str) -> tuple[str, str]:
    """Return the folder, "" for the top, and the file's own name. Raises OutsideFolder."""
    path = posixpath.normpath(posixpath.join(subfolder.replace("\\", "/"), name.replace("\\", "/")))
    if path.startswith(("/", "../")) or path == "..":
        raise OutsideFolder(path)
    return posixpath.split(path)

"""What a reader of a foreign file has to say about it, beside the values that it found."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Note"]


class Note(NamedTuple):
    """A remark about one key.

    kind: "no effect" of a key that changes nothing, "contradiction" of keys that say two things, "read as" of a value
    that is taken in another form. key: with its section. active: whether the key asks for something, so that leaving it
    out changes the picture.
    """

    kind: Literal["no effect", "contradiction", "read as"]
    key: str
    reason: str
    active: bool = False

    def __str__(self) -> str:
        """Return the note on one line."""
        return f"{self.kind}: {self.key}: {self.reason}"

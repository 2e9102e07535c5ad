"""A1111's prompt syntax, rewritten for ComfyUI, which reads only `(text:1.2)` and `embedding:name`.

Nested weights are multiplied out, `<lora:...>` becomes a loader, BREAK and AND parts of their own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from rxpipe.backends.prompts import Prompt, parsed, weighed_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable


def rewritten(prompt: str, *, embeddings: Iterable[str] = (), steps: int = 20) -> Prompt:
    """Return a prompt of A1111's syntax as ComfyUI takes it: its parts are plain texts with weights.

    Args:
        prompt: in A1111's syntax.
        embeddings: names that the server has; such a word becomes `embedding:name`.
        steps: of the sampling, for a prompt that changes at a step.
    """
    found = parsed(prompt, program="ComfyUI", steps=steps)
    known = _pattern_of(embeddings)
    return replace(found, parts=tuple(tuple(_weighed(text, known) for text in part) for part in found.parts))


def _weighed(text: str, embeddings: re.Pattern[str] | None) -> str:
    """Return a text with every weight multiplied out."""
    return "".join(_written(_named(piece, embeddings), weight) for piece, weight in weighed_pieces(text))


def _written(text: str, weight: float) -> str:
    escaped = text.replace("(", r"\(").replace(")", r"\)")
    number = f"{weight:.3f}".rstrip("0").rstrip(".")
    return escaped if number == "1" or not text.strip() else f"({escaped}:{number})"


def _pattern_of(embeddings: Iterable[str]) -> re.Pattern[str] | None:
    names = sorted(embeddings, key=len, reverse=True)
    if not names:
        return None
    return re.compile(rf"(?<![\w:.-])({'|'.join(map(re.escape, names))})(?![\w-])", re.IGNORECASE)


def _named(text: str, embeddings: re.Pattern[str] | None) -> str:
    return text if embeddings is None else embeddings.sub(r"embedding:\1", text)

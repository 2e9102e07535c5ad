"""How many tokens a prompt has, estimated: CLIP's vocabulary is not here, and servers do not count for clients."""

from __future__ import annotations

import re

CHUNK = 75
"""Tokens that a model reads at once; a longer prompt is read in several pieces."""

_LORA = re.compile(r"<[a-z]+:[^<>]*>")
_WEIGHT = re.compile(r":\s*[+-]?\d+(\.\d+)?\s*(?=[)\]])")
_PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|\d|[^\W\d_]+|[^\s\w]+|_+")
_WHOLE = 9  # letters of a word that is one token as a rule
_PART = 5  # letters per token of a longer one


def token_estimate(prompt: str) -> int:
    """Return about how many tokens CLIP makes of *prompt*, without LoRAs, weights and brackets, which WebUIs take out.

    Punctuation and digits count one each, words of up to nine letters one, longer ones more.
    """
    text = _WEIGHT.sub("", _LORA.sub("", prompt))
    text = re.sub(r"(?<!\\)[()\[\]]", "", text).replace("\\", "")
    return sum(_tokens(piece) for piece in _PIECES.findall(text) if piece)


def _tokens(piece: str) -> int:
    if not piece[0].isalpha() or len(piece) <= _WHOLE:
        return 1
    return -(-len(piece) // _PART)


def token_text(prompt: str) -> str:
    """Return what to say of a prompt's length, such as "≈ 12 of 75 tokens"."""
    count = token_estimate(prompt)
    room = max(1, -(-count // CHUNK)) * CHUNK
    return f"≈ {count} of {room} tokens"

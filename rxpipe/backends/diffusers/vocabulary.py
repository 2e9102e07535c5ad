"""CLIP's vocabulary, which a single file does not hold: found where the machine has it, never fetched."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.backends.diffusers.files import folders

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKENS = 49408
_MERGES = 48894
_PACKAGES = ("open_clip", "clip")
_PACKED = "bpe_simple_vocab_16e6.txt.gz"
_VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Two files of a tokenizer. tokens: vocab.json. merges: merges.txt."""

    tokens: str = field(repr=False)
    merges: str = field(repr=False)


def find_vocabulary() -> Vocabulary | None:
    """Return CLIP's vocabulary from a model's folder, the cache of a hub, or a package that holds it; else None."""
    for folder in _tokenizers():
        found = _read(folder)
        if found is not None:
            return found
    for path in _packed():
        found = _unpacked(path)
        if found is not None:
            return found
    return None


def _tokenizers() -> Iterator[Path]:
    """Folders that may hold a tokenizer: of models, and in the cache of a hub."""
    for root in folders():
        yield from sorted(path.parent for path in root.glob("*/tokenizer/merges.txt"))
        yield from sorted(path.parent for path in root.glob("**/sd1_tokenizer/merges.txt"))
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    for pattern in ("models--openai--clip-*/snapshots/*/merges.txt", "models--*/snapshots/*/tokenizer/merges.txt"):
        yield from sorted(path.parent for path in hub.glob(pattern))


def _read(folder: Path) -> Vocabulary | None:
    try:
        tokens = (folder / "vocab.json").read_text(encoding="utf-8")
        merges = (folder / "merges.txt").read_text(encoding="utf-8")
        return Vocabulary(tokens, merges) if len(json.loads(tokens)) == _TOKENS else None
    except (OSError, ValueError, TypeError):
        return None


def _packed() -> Iterator[Path]:
    for name in _PACKAGES:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(place) / _PACKED


def _unpacked(path: Path) -> Vocabulary | None:
    """CLIP's own form: one gzip of merges. The tokens follow from it: letters, letters that end a word, merged ones."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, ValueError):
        return None
    merges = lines[1 : _MERGES + 1]
    letters = [*map(chr, _VISIBLE), *(chr(256 + number) for number in range(256 - len(_VISIBLE)))]
    merged = ["".join(line.split()) for line in merges]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *merged, "<|startoftext|>", "<|endoftext|>"]
    if len(set(tokens)) != _TOKENS:
        return None
    numbered = {token: number for number, token in enumerate(tokens)}
    return Vocabulary(json.dumps(numbered, ensure_ascii=False), "\n".join(["#version: 0.2", *merges, ""]))

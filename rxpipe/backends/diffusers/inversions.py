"""Textual inversions: names in a prompt that stand for learned vectors. On the model's thread.

The files are A1111's (`emb_params`, `string_to_param`), diffusers' (one tensor by its token) and SDXL's (`clip_l`,
`clip_g`). Nothing of a model is changed: the vectors are put in where the text encoder looks its tokens up.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.files import models
from rxpipe.errors import BackendRejected
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rxpipe.backends.diffusers.files import ModelFile

_ASKED = re.compile(r"embedding:\s*(?P<name>[^\s,()\[\]:]+)|<(?P<token>[^\s<>:]+)>", re.IGNORECASE)
"""What can only mean an embedding, in ComfyUI's and in diffusers' spelling."""


class Words:
    """The embeddings that the prompts of one drawing name.

    used: names, for the record. misfits: names of those that do not fit the model, which are taken as words.
    """

    def __init__(self) -> None:
        self.used: dict[str, None] = {}
        self.misfits: dict[str, None] = {}
        self._read: dict[Path, Mapping[str, Any]] = {}

    def pieces(self, text: str, encoders: Sequence[tuple[str, Any]], letter: str) -> Iterator[tuple[str, Any]]:
        """Yield the parts of a text in order: words with None, and names with their vectors, n x width.

        Args:
            text: without weights.
            encoders: those of the model, by their letters: "l" is CLIP's first, "g" SDXL's second.
            letter: of the encoder that the vectors are for.
        """
        begin = 0
        for start, end, file in names_in(text):
            vectors = {one: self._vectors(file, one, encoder) for one, encoder in encoders}
            if any(found is None for found in vectors.values()):
                self.misfits[file.name] = None
                continue
            self.used[file.name] = None
            yield text[begin:start], None
            yield file.name, vectors[letter]
            begin = end
        yield text[begin:], None

    def _vectors(self, file: ModelFile, letter: str, encoder: Any) -> Any:
        if file.path not in self._read:
            self._read[file.path] = _read(file.path)
        found = self._read[file.path]
        named = found.get(f"clip_{letter}") if {"clip_l", "clip_g"} & found.keys() else next(iter(found.values()), None)
        if named is None:
            return None
        vectors = named.reshape(-1, named.shape[-1])
        return vectors if vectors.shape[-1] == encoder.get_input_embeddings().weight.shape[-1] else None


def names_in(text: str) -> list[tuple[int, int, ModelFile]]:
    """Return where a text names embeddings of the user's folders, as A1111, ComfyUI and diffusers spell them."""
    known: dict[str, ModelFile] = {}
    for file in models("embedding"):
        known.setdefault(file.name.casefold(), file)
    if not known:
        return []
    names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    pattern = rf"(?:embedding:\s*|(?<![\w-]))(?P<bare>{names})(?![\w-])|<(?P<token>{names})>"
    found = re.finditer(pattern, text, re.IGNORECASE)
    return [(one.start(), one.end(), known[(one["bare"] or one["token"]).casefold()]) for one in found]


def unknown_names(text: str) -> list[str]:
    """Return what a text names as an embedding that is in none of the user's folders."""
    spans = [(start, end) for start, end, _ in names_in(text)]
    return [
        one["name"] or one["token"]
        for one in _ASKED.finditer(text)
        if not any(start < one.end() and one.start() < end for start, end in spans)
    ]


@contextlib.contextmanager
def put_in(encoder: Any, vectors: Mapping[int, Any]) -> Iterator[None]:
    """Have an encoder see vectors in place of the tokens at some places of the one text that it is given."""

    def replace(_: Any, __: Any, looked_up: Any) -> Any:
        for place, vector in vectors.items():
            looked_up[0, place] = vector.to(looked_up.device, looked_up.dtype)
        return looked_up

    if not vectors:
        yield
        return
    handle = encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _read(path: Path) -> Mapping[str, Any]:
    """The tensors of a file; of a pickle the weights only."""
    import torch  # noqa: PLC0415  # on the model's thread only
    from safetensors.torch import load_file  # noqa: PLC0415  # see above

    try:
        found = (
            load_file(str(path))
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # of whatever kind: the file is the user's
        raise BackendRejected(f"embedding {path}: refused: {cut(str(error).partition(chr(10))[0])}.") from error
    table = found.get("string_to_param", found) if isinstance(found, dict) else {}
    tensors = {str(name): value for name, value in table.items() if isinstance(value, torch.Tensor) and value.ndim > 0}
    if not tensors:
        raise BackendRejected(f"embedding {path}: it holds no vectors.")
    return tensors

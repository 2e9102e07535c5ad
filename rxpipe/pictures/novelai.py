"""NovelAI's metadata: JSON under `Comment`, the model under `Source`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialect import Parsed, as_settings, json_object, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(texts: Mapping[str, str]) -> Parsed | None:
    """Return what NovelAI wrote into a picture; None where the texts are of another kind."""
    if not texts.get("Software", "").startswith("NovelAI"):
        return None
    values = json_object(texts.get("Comment")) or {}
    return Parsed(
        dialect="novelai",
        prompt=text_in(values, "prompt") or texts.get("Description", ""),
        negative_prompt=text_in(values, "uc"),
        settings=as_settings({**values, "model": texts.get("Source")}, leave=frozenset({"prompt", "uc"})),
    )

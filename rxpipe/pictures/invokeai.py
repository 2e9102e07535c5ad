"""InvokeAI's metadata: JSON under `invokeai_metadata`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialect import Parsed, as_settings, json_object, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(texts: Mapping[str, str]) -> Parsed | None:
    """Return what InvokeAI wrote into a picture; None where the texts are of another kind."""
    values = json_object(texts.get("invokeai_metadata"))
    if values is None:
        return None
    model = values.get("model")
    if isinstance(model, dict):
        values["model"] = model.get("name") or model.get("model_name") or model
    return Parsed(
        dialect="invokeai",
        prompt=text_in(values, "positive_prompt"),
        negative_prompt=text_in(values, "negative_prompt"),
        settings=as_settings(values, leave=frozenset({"positive_prompt", "negative_prompt"}), scheduler="Sampler"),
    )

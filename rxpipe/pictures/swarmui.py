"""SwarmUI's metadata: JSON under `sui_image_params`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialect import Parsed, as_settings, json_object, main_text, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(texts: Mapping[str, str]) -> Parsed | None:
    """Return what SwarmUI wrote into a picture; None where the texts are of another kind."""
    values = json_object(main_text(texts)) or {}
    params = values.get("sui_image_params")
    if not isinstance(params, dict):
        return None
    extra = values.get("sui_extra_data")
    params = {**params, **(extra if isinstance(extra, dict) else {})}
    return Parsed(
        dialect="swarmui",
        prompt=text_in(params, "prompt"),
        negative_prompt=text_in(params, "negativeprompt"),
        settings=as_settings(params, leave=frozenset({"prompt", "negativeprompt"})),
    )

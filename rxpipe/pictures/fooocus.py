"""Fooocus' metadata: JSON with a scheme beside it, or A1111's text if so set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.pictures import a1111
from rxpipe.pictures.dialect import Parsed, as_settings, json_object, main_text, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIZE_PAIR = re.compile(r"\(?(\d+), ?(\d+)\)?")


def read(texts: Mapping[str, str]) -> Parsed | None:
    """Return what Fooocus wrote into a picture; None where the texts are of another kind."""
    scheme = texts.get("fooocus_scheme") or texts.get("MakerNote")
    made_by = texts.get("Software", "")
    values = json_object(main_text(texts))
    if values is None:
        marked = "fooocus_scheme" in texts or made_by.startswith("Fooocus")
        return a1111.read_text(main_text(texts), "fooocus") if marked and scheme == "a1111" else None
    if scheme != "fooocus" and not {"base_model", "guidance_scale"} <= values.keys():
        return None
    size = _SIZE_PAIR.fullmatch(str(values.get("resolution", "")))
    if size:
        values["resolution"] = f"{size[1]}x{size[2]}"
    return Parsed(
        dialect="fooocus",
        prompt=text_in(values, "prompt", "full_prompt"),
        negative_prompt=text_in(values, "negative_prompt", "full_negative_prompt"),
        settings=as_settings(values, leave=frozenset({"prompt", "negative_prompt"}), resolution="Size"),
    )

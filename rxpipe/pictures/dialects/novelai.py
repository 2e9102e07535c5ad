"""NovelAI's metadata: JSON under `Comment`, the model under `Source`; prompts of characters beside the main one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import Parsed, as_settings, json_object, table_in, text_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.parsed import Found

_MARKS = frozenset({"v4_prompt", "uncond_scale", "noise_schedule", "cfg_rescale"})
_APART = frozenset({"prompt", "uc", "v4_prompt", "v4_negative_prompt", "signed_hash", "strength", "noise"})
_REFERENCES = ("reference_image_multiple", "reference_strength_multiple", "director_reference_images")


def read(found: Found) -> Parsed | None:
    """Return what NovelAI wrote into a picture; None where the texts are of another kind."""
    texts = found.texts
    marked = texts.get("Software", "").startswith("NovelAI") or texts.get("Title", "").startswith("NovelAI")
    comment = texts.get("Comment") or texts.get("UserComment") or texts.get("comment")
    values = json_object(comment) or {}
    if not marked and not (_MARKS & values.keys() and "prompt" in values):
        return None
    over = "Img2Img" in text_in(values, "request_type") or "Infill" in text_in(values, "request_type")
    leave = _APART - {"strength", "noise"} if over else _APART
    settings = as_settings({**values, "model": texts.get("Source")}, leave=frozenset(leave))
    main, people = _captions(table_in(values, "v4_prompt"))
    negative, others = _captions(table_in(values, "v4_negative_prompt"))
    return Parsed(
        dialect="novelai",
        prompt=_whole(main or text_in(values, "prompt") or texts.get("Description", ""), people),
        negative_prompt=_whole(negative or text_in(values, "uc"), others),
        settings=settings,
        source="a picture" if over else "",
        unread=tuple(f"NovelAI's {key}" for key in _REFERENCES if values.get(key)),
    )


def _captions(prompt: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return the main caption and those of the characters."""
    caption = table_in(prompt, "caption")
    listed = caption.get("char_captions")
    people = (
        [text_in(each, "char_caption") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    return text_in(caption, "base_caption"), [text for text in people if text]


def _whole(text: str, people: list[str]) -> str:
    """Return one prompt; characters stand behind "|", as NovelAI's own text field has them."""
    return " | ".join([text, *people]) if people else text

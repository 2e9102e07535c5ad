"""The texts of the form about variants, and the section of a config that they mean. Pure, no Tk.

A sweep is a line for each setting: `txt2img.cfg_scale = 5, 7, 9`. Settings of a preset's section without a field here
stay as they are.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from rxpipe.errors import ConfigError
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIANT_FIELDS", "field_of_problem", "texts_of", "with_fields"]

VARIANT_FIELDS = ("sweep", "wildcards", "seeds", "count")
_EXAMPLE = "txt2img.cfg_scale = 5, 7, 9"
_SEEDS = {"per_image": "", "fixed": "fixed", "counted": "counted"}


def texts_of(section: object) -> dict[str, str]:
    """Return the texts of the fields that mean a section, by "variants." and the field; "" for all without one."""
    given: Mapping[str, Any] = section if isinstance(section, dict) else {}
    sweep = given.get("sweep") or {}
    count = given.get("count") if given.get("mode") == "random" else None
    texts = {
        "sweep": "\n".join(f"{name} = {_text_of(values)}" for name, values in sweep.items()),
        "wildcards": _joined([str(path) for path in given.get("wildcards") or ()]),
        "seeds": _SEEDS.get(str(given.get("seeds")), ""),
        "count": "" if count is None else str(count),
    }
    return {f"variants.{name}": text for name, text in texts.items()}


def with_fields(section: object, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a section with what the fields say in place of its own.

    Args:
        section: of a preset, None for none. fields: texts by "variants." and the field; what is missing is as it was.

    Raises:
        ConfigError: a line of the sweep is no setting with values, or names one a second time.
    """
    made: dict[str, Any] = dict(section) if isinstance(section, dict) else {}
    texts = {name: fields[f"variants.{name}"].strip() for name in VARIANT_FIELDS if f"variants.{name}" in fields}
    if "count" in texts and (texts["count"] or made.get("mode") == "random"):
        _put(made, "mode", "random" if texts["count"] else "")
        _put(made, "count", texts["count"])
    if "sweep" in texts:
        _put(made, "sweep", _sweep_of(texts["sweep"]))
    if "wildcards" in texts:
        _put(made, "wildcards", _names_in(texts["wildcards"]))
    if "seeds" in texts:
        _put(made, "seeds", texts["seeds"])
    return made


def field_of_problem(where: str) -> str:
    """Return the field that a problem's beginning speaks of, such as that of "sweep txt2img.stps"; "" for none."""
    first = where.split(" ", 1)[0].removeprefix("variants.")
    return f"variants.{first}" if first in VARIANT_FIELDS else ""


def _put(section: dict[str, Any], name: str, value: object) -> None:
    if value:
        section[name] = value
    else:
        section.pop(name, None)


def _sweep_of(text: str) -> dict[str, Any]:
    sweep: dict[str, Any] = {}
    for line in filter(str.strip, text.splitlines()):
        name, sign, values = (part.strip() for part in line.partition("="))
        if not (name and sign and values):
            raise ConfigError([f"variants.sweep: got {shown(line.strip())}, should be like {_EXAMPLE}"])
        if name in sweep:
            raise ConfigError([f"variants.sweep: {shown(name)} stands on two lines; give all its values on one"])
        sweep[name] = _listed(values)
    return sweep


def _listed(values: str) -> object:
    """Return values written as a JSON list as what they are; any other text is read by the sweep itself."""
    if values.startswith("["):
        try:
            return json.loads(values)
        except ValueError as error:
            raise ConfigError([f"variants.sweep: got {shown(values)}, which is no list in JSON: {error}"]) from None
    return values


def _text_of(values: object) -> str:
    if isinstance(values, str):
        return values.replace("\n", " ")
    plain = isinstance(values, list | tuple) and all(isinstance(each, int | float) for each in values)
    return ", ".join(map(str, values)) if plain and isinstance(values, list | tuple) else json.dumps(values)


def _names_in(text: str) -> list[str]:
    rows = csv.reader([text], skipinitialspace=True)
    return [name.strip() for row in rows for name in row if name.strip()]


def _joined(names: list[str]) -> str:
    if not names:
        return ""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue().replace(",", ", ") if not any("," in name for name in names) else line.getvalue()

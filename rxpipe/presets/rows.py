"""Lists of prompts, each with settings if need be: text, CSV, JSON, the lines of A1111's script "Prompts from file"."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config import STAGE_SECTIONS
from rxpipe.config.bounds import MAX_BYTES
from rxpipe.errors import ConfigError, suggestion
from rxpipe.presets.options import stage_that_takes
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Row", "read_rows"]

_MOST_ROWS = 100_000
_NAMES = {
    "negative": "negative_prompt",
    "cfg": "cfg_scale",
    "sampler": "sampler_name",
    "batch_count": "images",
    "n_iter": "images",
    "sd_model": "model",
    "checkpoint": "model",
    "denoise": "denoising_strength",
    "restore_face": "restore_faces",
}
_NO_HOME = frozenset(
    {
        *("outpath_samples", "outpath_grids", "prompt_for_display", "do_not_save_samples", "do_not_save_grid"),
        *("subseed", "seed_resize_from_h", "seed_resize_from_w", "sampler_index"),
    }
)
_BLANK = re.compile(r"\n[ \t]*\n")


class Row(NamedTuple):
    """One prompt of a list. settings: by name, of the first stage that takes each. sets: "stage.key=value" each.

    left: what has no place.
    """

    settings: Mapping[str, Any]
    sets: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_rows(path: Path) -> list[Row]:
    """Return the prompts of a file, recognised by its content and name.

    Text: a prompt in each line, or where blank lines stand between them in each block. CSV (or TSV): columns by the
    names in its first line. JSON: a list of texts, or of objects. A line of text that begins with `--` is one of
    A1111's: `--prompt "a mill" --steps 30`. Lines that begin with "#" are left out.

    Raises:
        ConfigError: it cannot be read, holds no prompt, or names a setting that there is not.
    """
    text = _text(path)
    ending = path.suffix.lower()
    if ending == ".json" or (text.lstrip()[:1] == "[" and text.lstrip()[:2] != "[["):
        rows = [_named(values, f"{path}, item {n}") for n, values in enumerate(_objects(text, path), 1)]
    elif ending in {".csv", ".tsv"}:
        rows = [_named(values, f"{path}, row {n}") for n, values in _table(text, path, ending)]
    else:
        rows = [_line(line, f"{path}, prompt {n}") for n, line in enumerate(_prompts(text), 1)]
    if not rows:
        raise ConfigError([f"--prompts {path}: holds no prompt"])
    if len(rows) > _MOST_ROWS:
        raise ConfigError([f"--prompts {path}: holds {len(rows):,} prompts; at most {_MOST_ROWS:,}"])
    return rows


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        what = "is a folder" if path.is_dir() else f"cannot be read: {error.strerror}"
        raise ConfigError([f"--prompts {path}: {what}"], hint="Give a file of prompts: text, CSV or JSON.") from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"--prompts {path}: has more than {MAX_BYTES:,} bytes"])
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError([f"--prompts {path}: is no text in UTF-8 (byte {error.start})"]) from None


def _prompts(text: str) -> list[str]:
    kept = "\n".join(line.rstrip() for line in text.split("\n") if not line.lstrip().startswith("#"))
    if _BLANK.search(kept.strip()):
        return [" ".join(block.split()) for block in _BLANK.split(kept) if block.strip()]
    return [line.strip() for line in kept.split("\n") if line.strip()]


def _objects(text: str, path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            [f"--prompts {path}: not well-formed JSON: {error}"],
            hint="Allowed: text with a prompt on each line, CSV or JSON. A config is run by its name: rxpipe run FILE.",
        ) from None
    listed = values.get("prompts", values) if isinstance(values, dict) else values
    if not isinstance(listed, list):
        raise ConfigError([f"--prompts {path}: should be a list of prompts, or of objects with a prompt each"])
    rows = [{"prompt": each} if isinstance(each, str) else each for each in listed]
    if wrong := next((each for each in rows if not isinstance(each, dict)), None):
        raise ConfigError([f"--prompts {path}: got {shown(wrong)} where a text or an object was expected"])
    return rows


def _table(text: str, path: Path, ending: str) -> list[tuple[int, Mapping[str, Any]]]:
    first = text.split("\n", 1)[0]
    sign = "\t" if ending == ".tsv" or "\t" in first else ";" if first.count(";") > first.count(",") else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=sign, skipinitialspace=True)
    names = [name.strip() for name in rows.fieldnames or ()]
    if not any(names):
        return []
    if "prompt" not in [name.lower().rpartition(".")[2] for name in names]:
        raise ConfigError(
            [f"--prompts {path}: its first line names no column prompt, but {shown(', '.join(names))}"],
            hint="The first line of a table names its columns: prompt, negative_prompt, steps, ...",
        )
    found: list[tuple[int, Mapping[str, Any]]] = []
    for number, row in enumerate(rows, 2):
        if None in row:
            raise ConfigError([f"--prompts {path}, row {number}: has more cells than the first line names"])
        values = {str(name).strip(): cell.strip() for name, cell in row.items() if cell and cell.strip()}
        if values:
            found.append((number, values))
    return found


def _named(values: Mapping[str, Any], where: str) -> Row:
    settings, sets, problems = dict[str, Any](), list[str](), list[str]()
    for key, value in values.items():
        name = key.strip().lower().replace(" ", "_").replace("-", "_")
        name = _NAMES.get(name, name)
        if "." in name:
            sets.append(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
        elif name == "size":
            settings |= _size(value, where)
        elif stage_that_takes(name, STAGE_SECTIONS) is None:
            known = sorted({field for section in STAGE_SECTIONS.values() for field in section.model_fields})
            problems.append(f"--prompts {where}: unknown column {cut(key)}; {suggestion(name, known)}")
        else:
            settings[name] = value
    if problems:
        raise ConfigError(problems)
    if not str(settings.get("prompt", "")).strip():
        raise ConfigError([f"--prompts {where}: has no prompt"])
    return Row(settings, tuple(sets))


def _size(value: Any, where: str) -> dict[str, Any]:
    width, sign, height = str(value).lower().partition("x")
    if not sign or not width.strip().isdecimal() or not height.strip().isdecimal():
        raise ConfigError([f"--prompts {where}: size: got {shown(value)}, should be WIDTHxHEIGHT in px"])
    return {"width": int(width), "height": int(height)}


def _line(line: str, where: str) -> Row:
    """Read a line of A1111's script, `--prompt ... --seed ...`; any other is all prompt."""
    if not line.startswith("--"):
        return Row({"prompt": line})
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError([f"--prompts {where}: {cut(line)}: {error}"]) from None
    values, left, at = dict[str, Any](), list[str](), 0
    while at < len(words):
        name = words[at].removeprefix("--")
        if not words[at].startswith("--") or not name:
            raise ConfigError(
                [f"--prompts {where}: got {shown(words[at])} where an option such as --seed was expected"]
            )
        if at + 1 >= len(words):
            raise ConfigError([f"--prompts {where}: --{name} has no value"])
        if name in _NO_HOME:
            left.append(name)
        else:
            values[name] = words[at + 1]
        at += 2
    return _named(values, where)._replace(left=tuple(left))

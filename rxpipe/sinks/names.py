"""Names of picture files, apart from their number: A1111's patterns, cleaned for every file system.

Pure. A pattern is read once, so that an unknown token is an error then and not at each picture.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import TypeAlias

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution, StageExecutionPlan

    _Token: TypeAlias = Callable[[Artifact, StageExecution, datetime, str], object]  # the last: what stood in <>

__all__ = ["NamePattern", "clean_part", "pattern_of"]

_MAX_CHARACTERS = 128  # as in A1111
_MAX_BYTES = 128  # with number and ending below 143, the least that file systems allow (encrypted homes)
_FORBIDDEN = re.compile(r'[#<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_TOKEN = re.compile(r"\[(\w+)(?:<([^>]*)>)?\]")
_WORDS = 8
_DRAWING = frozenset({"txt2img", "workflow", "img2img"})


def clean_part(text: str) -> str:
    r"""Return *text* as one part of a path for every file system: no way up or down, no name that Windows reserves.

    `#<>:"/\|?*` and control characters become "_"; leading blanks, trailing blanks and dots go; at most 128 characters
    and 128 bytes stay. May be empty.
    """
    part = _FORBIDDEN.sub("_", text.encode("utf-8", "replace").decode())
    part = part.lstrip(" ")[:_MAX_CHARACTERS]
    part = part.encode()[:_MAX_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return f"_{part}" if _RESERVED.fullmatch(part) else part


class NamePattern:
    """A pattern such as "[seed]-[prompt_words]", filled in for one picture at a time.

    Tokens: variant, input, seed, steps, cfg, width, height, sampler, scheduler, model_name, denoising, clip_skip,
    prompt, prompt_spaces, prompt_words, stage, number, id, date, datetime, datetime<strftime>; what is not known is
    empty.

    Raises ConfigError for a token that does not exist.
    """

    def __init__(self, pattern: str = "[seed]") -> None:
        unknown = [name for name, _ in _TOKEN.findall(pattern) if name not in _TOKENS]
        if unknown:
            allowed = ", ".join(_TOKENS)
            raise ConfigError([f"file name pattern: unknown token [{name}]; allowed: {allowed}" for name in unknown])
        self.pattern = pattern

    def fill(self, artifact: Artifact, execution: StageExecution, now: datetime) -> str:
        """Return the name for this picture, clean, without number and ending; empty where nothing of it is known."""

        def value(token: re.Match[str]) -> str:
            known = _TOKENS[token[1]](artifact, execution, now, token[2] or "")
            return "" if known is None else str(known)

        return clean_part(_TOKEN.sub(value, self.pattern))


def _of_generation(name: str) -> _Token:
    return lambda _artifact, execution, _now, _form: getattr(execution.generation, name)


def _underscored(_artifact: Artifact, execution: StageExecution, _now: datetime, _form: str) -> object:
    return clean_part(execution.generation.prompt).replace(" ", "_")


def _variant(artifact: Artifact, _execution: StageExecution, _now: datetime, _form: str) -> object:
    """Return the number of the variant and its values, but for prompts, which are long: "v012-cfg_scale=7-steps=20"."""
    values = artifact.variant
    if not values:
        return None
    said = [
        f"{name.rpartition('.')[2]}={value:g}" if isinstance(value, float) else f"{name.rpartition('.')[2]}={value}"
        for name, value in values.items()
        if name != "number" and not name.endswith("prompt")
    ]
    return "-".join([f"v{values.get('number', 0):03}", *said])


def pattern_of(plan: StageExecutionPlan) -> str:
    """Return the pattern of a run's file names: its own, else what tells its pictures apart."""
    settings = plan.settings
    if settings.name is not None:
        return settings.name
    draws = not settings.input or (plan.stages and plan.stages[0].stage_type in _DRAWING)
    parts = [*(["[input]"] if settings.input else []), *(["[seed]"] if draws else [])]
    return "-".join([*parts, *(["[variant]"] if settings.variants else [])])


def _words(_artifact: Artifact, execution: StageExecution, _now: datetime, _form: str) -> object:
    return " ".join(re.findall(r"\w+", execution.generation.prompt)[:_WORDS])


_TOKENS: Mapping[str, _Token] = {
    "seed": lambda artifact, *_: artifact.seed,
    "steps": _of_generation("steps"),
    "cfg": _of_generation("cfg_scale"),
    "width": _of_generation("width"),
    "height": _of_generation("height"),
    "sampler": _of_generation("sampler_name"),
    "scheduler": _of_generation("scheduler"),
    "model_name": _of_generation("model"),
    "clip_skip": _of_generation("clip_skip"),
    "denoising": lambda _artifact, execution, *_: getattr(execution.config, "denoising_strength", None),
    "prompt": _underscored,
    "prompt_spaces": _of_generation("prompt"),
    "prompt_words": _words,
    "variant": _variant,
    "input": lambda artifact, *_: clean_part(artifact.origin.stem) if artifact.origin else None,
    "stage": lambda _artifact, execution, *_: execution.stage_type,
    "number": lambda artifact, *_: artifact.number,
    "id": lambda artifact, *_: artifact.id,
    "date": lambda _artifact, _execution, now, _form: now.strftime("%Y-%m-%d"),
    "datetime": lambda _artifact, _execution, now, form: now.strftime(form or "%Y%m%d%H%M%S"),
}

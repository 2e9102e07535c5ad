"""Names of picture files, apart from their number: A1111's patterns, cleaned for every file system.

Pure. A pattern is read once, so that an unknown token is an error then and not at each picture.
"""

from __future__ import annotations

import getpass
import hashlib
import re
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from rxpipe.errors import ConfigError, suggestion
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import TypeAlias

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution, StageExecutionPlan

    _Token: TypeAlias = Callable[["_Named"], object]

__all__ = ["NamePattern", "clean_part", "pattern_of"]

_MAX_CHARACTERS = 128  # as in A1111
_MAX_BYTES = 128  # with number and ending below 143, the least that file systems allow (encrypted homes)
_FORBIDDEN = re.compile(r'[#<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_TOKEN = re.compile(r"\[(\w+)((?:<[^>]*>)*)\]")
_INSIDE = re.compile(r"<([^>]*)>")
_HASH = re.compile(r"\s*\[([0-9a-f]{6,64})\]\s*$")
_WORDS, _DIGITS = 8, 8
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


class _Named(NamedTuple):
    """What a token is filled from. began: when the first picture of the run was named. inside: what stood in <>."""

    artifact: Artifact
    execution: StageExecution
    now: datetime
    began: datetime
    inside: tuple[str, ...]

    @property
    def first(self) -> str:
        """What stood in the first <>, "" for nothing."""
        return self.inside[0] if self.inside else ""

    def digest(self, data: bytes) -> str:
        """Return so many digits of a SHA-256 as stand in <>, 8 by default."""
        return hashlib.sha256(data).hexdigest()[: int(self.first) if self.first.isdecimal() else _DIGITS]


class NamePattern:
    """A pattern such as "[seed]-[prompt_words]", filled in for one picture at a time.

    Tokens are A1111's: seed; of a batch seed_first<size><images>, seed_last<size><images>, batch_number<size>, which
    `pattern_of` fills in; steps, cfg, width, height, sampler, scheduler, sampler_scheduler, model_name, model_hash,
    vae_filename, styles, denoising, clip_skip, prompt, prompt_no_styles, prompt_spaces, prompt_words,
    prompt_hash<digits>, negative_prompt_hash<digits>, full_prompt_hash<digits>, image_hash<digits>,
    hasprompt<word|otherwise>..., generation_number, date, datetime<strftime><time zone>, job_timestamp, user, none.
    And variant, input, stage, number, id. What is not known is empty.

    Raises ConfigError for a token, or a time zone, that does not exist.
    """

    def __init__(self, pattern: str = "[seed]") -> None:
        found = _TOKEN.findall(pattern)
        unknown = [name for name, _ in found if name not in _TOKENS]
        if unknown:
            problems = [f"[{name}]; {suggestion(name, _TOKENS)}" for name in dict.fromkeys(unknown)]
            raise ConfigError([f"file name pattern: unknown token {problem}" for problem in problems])
        for name, inside in found:
            if name == "datetime":
                _check_zone(_INSIDE.findall(inside)[1:])
        self.pattern = pattern
        self._began: datetime | None = None

    def fill(self, artifact: Artifact, execution: StageExecution, now: datetime) -> str:
        """Return the name for this picture, clean, without number and ending; empty where nothing of it is known."""
        self._began = began = self._began or now

        def value(token: re.Match[str]) -> str:
            inside = tuple(_INSIDE.findall(token[2]))
            known = _TOKENS[token[1]](_Named(artifact, execution, now, began, inside))
            return "" if known is None else str(known)

        return clean_part(_TOKEN.sub(value, self.pattern))


def pattern_of(plan: StageExecutionPlan) -> str:
    """Return the pattern of a run's file names: its own, else what tells its pictures apart.

    As A1111 does, numbers within a batch or a run go, with the text before them, where there is one picture in it.
    """
    settings = plan.settings
    if settings.name is not None:
        batch = getattr(plan.stages[0].config, "batch_size", 1) if plan.stages else 1
        gone = [*(_OF_BATCH if batch == 1 else ()), *(("generation_number",) if plan.images == 1 else ())]
        name = re.sub(rf"[^\[\]]*\[(?:{'|'.join(gone)})\]", "", settings.name) if gone else settings.name
        return re.sub(rf"\[({'|'.join(_OF_BATCH)})\]", rf"[\1<{batch}><{plan.images}>]", name)
    draws = not settings.input or (plan.stages and plan.stages[0].stage_type in _DRAWING)
    parts = [*(["[input]"] if settings.input else []), *(["[seed]"] if draws else [])]
    return "-".join([*parts, *(["[variant]"] if settings.variants else [])])


def _check_zone(names: list[str]) -> None:
    for name in names:
        try:
            ZoneInfo(name)
        except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError with some versions
            raise _no_zone(name) from error
        except KeyError as error:
            raise _no_zone(name) from error


def _no_zone(name: str) -> ConfigError:
    return ConfigError([f"file name pattern: there is no time zone {shown(name)}; a name such as Europe/Berlin or UTC"])


def _of_generation(name: str) -> _Token:
    return lambda named: getattr(named.execution.generation, name)


def _prompt(named: _Named) -> str:
    return named.execution.generation.prompt


def _variant(named: _Named) -> object:
    """Return the number of the variant and its values, but for prompts, which are long: "v012-cfg_scale=7-steps=20"."""
    values = named.artifact.variant
    if not values:
        return None
    said = [
        f"{name.rpartition('.')[2]}={value:g}" if isinstance(value, float) else f"{name.rpartition('.')[2]}={value}"
        for name, value in values.items()
        if name != "number" and not name.endswith("prompt")
    ]
    return "-".join([f"v{values.get('number', 0):03}", *said])


def _words(named: _Named) -> object:
    return " ".join(re.findall(r"\w+", _prompt(named))[:_WORDS])


def _model_name(named: _Named) -> object:
    """Return the checkpoint's name without folder, ending and hash."""
    model = _HASH.sub("", named.execution.generation.model or "")
    return PureWindowsPath(re.sub(r"\.(safetensors|ckpt|pt|pth|gguf)$", "", model)).name


def _model_hash(named: _Named) -> object:
    found = _HASH.search(named.execution.generation.model or "")
    return found[1] if found else None


def _sampler_scheduler(named: _Named) -> object:
    generation = named.execution.generation
    return " ".join(part for part in (generation.sampler_name, generation.scheduler) if part)


def _styles(named: _Named) -> object:
    return ", ".join(getattr(named.execution.config, "styles", ())) or "None"


def _vae(named: _Named) -> object:
    return PureWindowsPath(named.execution.generation.vae or "").stem


def _denoising(named: _Named) -> object:
    return getattr(named.execution.config, "denoising_strength", None)


def _batch(named: _Named) -> tuple[int, int]:
    """Return which of its batch an image is, from 0, and how many there are in it."""
    size, images = (int(text) for text in (*named.inside, "1", "1")[:2])
    place = (named.artifact.number - 1) % max(1, size)
    return place, max(1, min(size, images - named.artifact.number + 1 + place))


def _seed_first(named: _Named) -> object:
    return None if named.artifact.seed is None else named.artifact.seed - _batch(named)[0]


def _seed_last(named: _Named) -> object:
    place, count = _batch(named)
    return None if named.artifact.seed is None else named.artifact.seed - place + count - 1


def _has_prompt(named: _Named) -> object:
    """Return of each <word|otherwise> the word if the prompt has it, else what stands behind the bar."""
    prompt = _prompt(named).lower()
    pairs = (each.partition("|") for each in named.inside)
    return "".join(word if word.lower() in prompt else otherwise for word, _, otherwise in pairs)


def _datetime(named: _Named) -> object:
    zone = named.inside[1] if len(named.inside) > 1 else ""
    now = named.now.astimezone(ZoneInfo(zone)) if zone else named.now
    return now.strftime(named.first or "%Y%m%d%H%M%S")


def _user(_named: _Named) -> object:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the list of users
        return None


_OF_BATCH = ("batch_number", "seed_first", "seed_last")
_TOKENS: Mapping[str, _Token] = {
    "seed": lambda named: named.artifact.seed,
    "seed_first": _seed_first,
    "seed_last": _seed_last,
    "steps": _of_generation("steps"),
    "cfg": _of_generation("cfg_scale"),
    "width": _of_generation("width"),
    "height": _of_generation("height"),
    "sampler": _of_generation("sampler_name"),
    "scheduler": _of_generation("scheduler"),
    "sampler_scheduler": _sampler_scheduler,
    "model_name": _model_name,
    "model_hash": _model_hash,
    "vae_filename": _vae,
    "styles": _styles,
    "clip_skip": _of_generation("clip_skip"),
    "denoising": _denoising,
    "prompt": lambda named: clean_part(_prompt(named)).replace(" ", "_"),
    "prompt_no_styles": _of_generation("prompt"),
    "prompt_spaces": _of_generation("prompt"),
    "prompt_words": _words,
    "prompt_hash": lambda named: named.digest(_prompt(named).encode()),
    "negative_prompt_hash": lambda named: named.digest(named.execution.generation.negative_prompt.encode()),
    "full_prompt_hash": lambda named: named.digest(
        f"{_prompt(named)} {named.execution.generation.negative_prompt}".encode()
    ),
    "image_hash": lambda named: named.digest(named.artifact.read()),
    "hasprompt": _has_prompt,
    "batch_number": lambda named: _batch(named)[0] + 1,
    "generation_number": lambda named: named.artifact.number,
    "variant": _variant,
    "input": lambda named: clean_part(named.artifact.origin.stem) if named.artifact.origin else None,
    "stage": lambda named: named.execution.stage_type,
    "number": lambda named: named.artifact.number,
    "id": lambda named: named.artifact.id,
    "date": lambda named: named.now.strftime("%Y-%m-%d"),
    "datetime": _datetime,
    "job_timestamp": lambda named: named.began.strftime("%Y%m%d%H%M%S"),
    "user": _user,
    "none": lambda _named: None,
}

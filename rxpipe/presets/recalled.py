"""What a file says to run, as configs: the one reader for code, the command line and the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rxpipe.config import SECTIONS, PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.presets.jobs import Job, read_job, read_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

__all__ = ["Recalled", "check_complete", "drawn_over", "recall", "recall_all"]

_OF_EMPTY = frozenset({"width", "height", "batch_size", "enabled"})
"""Settings of txt2img that mean something else, or nothing, over a picture."""


class Recalled(NamedTuple):
    """What a file says to run.

    config: everything that has a place in one. not_carried_over: the names of what took part in the picture, or stands
    in the preset, and has none; empty where nothing was lost.
    """

    config: PipelineConfig
    not_carried_over: tuple[str, ...] = ()


def recall(
    path: Path | str,
    *,
    prompt: str | None = None,
    input: Path | str | Iterable[Path | str] = (),  # noqa: A002  the setting's name
    trust: bool | None = None,
) -> Recalled:
    """Return what a file says to run, recognised by its content and not by its name.

    A picture of any tool gives one image of the same seed through the same stages; a config in TOML, YAML or JSON is
    itself; a preset of StableNew and a payload of A1111's API are translated.

    Args:
        path: the file.
        prompt: in place of the file's; needed where it names none.
        input: the pictures to draw over; needed where the picture was drawn over another.
        trust: whether to take settings of a picture that do more than draw, such as options of the server. None raises
            where there are any.

    Raises:
        ConfigError: the file is of no known kind, or holds several prompts, or names every wrong setting; the picture
            does not say how it was made, was drawn over another that is not given, or has settings that do more than
            draw; there is no prompt.
        BadImage: the picture is damaged.
    """
    return _recalled(read_job(path), prompt, input, trust)


def recall_all(
    path: Path | str, *, preset: Path | str | None = None, trust: bool | None = None
) -> tuple[Recalled, ...]:
    """Return everything that a file says to run: of a prompt pack a config for each prompt.

    Args:
        path: the file. preset: the settings that the prompts of a pack are drawn with; None for its own. trust: as of
            `recall`.

    Raises:
        ConfigError, BadImage: as `recall`.
    """
    return tuple(_recalled(job, None, (), trust) for job in read_jobs(path, preset=preset))


def _recalled(
    job: Job, prompt: str | None, pictures: Path | str | Iterable[Path | str], trust: bool | None
) -> Recalled:
    job = job.trusted(trust=trust)
    values = dict(job.values)
    given = (
        [str(pictures)]
        if isinstance(pictures, str) or not hasattr(pictures, "__iter__")
        else [str(each) for each in pictures]
    )
    if given:
        values["input"] = given
    if prompt is not None:
        stage = next((name for name in ("txt2img", "img2img") if name in values), "txt2img")
        values[stage] = {**values.get(stage, {}), "prompt": prompt}
    check_complete(job, values, prompt_given=prompt is not None)
    left = job.left
    if given and job.kind != "config":
        values, lost = drawn_over(values)
        left = (*left, *lost)
    return Recalled(PipelineConfig.from_mapping(values, source=job.path.name), left)


def drawn_over(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return values that draw over pictures what they drew from nothing, and the settings that this leaves out.

    txt2img becomes img2img, or the settings that img2img inherits; the size is that of the pictures.
    """
    section = values.get("txt2img")
    if not isinstance(section, dict) or section.get("enabled", True) is False:
        return dict(values), ()
    shared = {name: value for name, value in section.items() if name in SECTIONS["img2img"].model_fields}
    lost = [
        f"txt2img.{name}" for name, value in section.items() if name not in shared and value not in (None, False, 0)
    ]
    kept = {name: value for name, value in shared.items() if name not in _OF_EMPTY}
    own = values.get("img2img")
    own = own if isinstance(own, dict) and own.get("enabled", True) is not False else {}
    others = {name: value for name, value in values.items() if name not in {"txt2img", "img2img"}}
    return {**others, "img2img": {**kept, **own}}, tuple(lost)


def check_complete(job: Job, values: Mapping[str, Any], *, prompt_given: bool) -> None:
    """Check that nothing is drawn without what it was drawn from.

    Args:
        job: as read. values: of the config, with what else was given. prompt_given: whether a prompt is among that.

    Raises:
        ConfigError: a prompt or the picture to draw over is missing; says what to give.
    """
    if job.source and not values.get("input") and "txt2img" not in values:
        raise ConfigError(
            [f"{job.path}: was drawn over {job.source}, which is not in it"],
            hint="Give the picture to draw over with --input (in code: input=...).",
        )
    if job.no_prompt and not prompt_given and _draws(values):
        raise ConfigError(
            [f"{job.path}: no prompt: {job.no_prompt}"],
            hint='Give one with --prompt "..." (in code: prompt=...)'
            + (", or run a prompt pack with it: rxpipe run PACK.txt --preset PRESET." if job.kind == "preset" else "."),
        )


def _draws(values: Mapping[str, Any]) -> bool:
    """Whether a stage draws from a prompt that none of the stages has."""
    sections = [values[name] for name in ("txt2img", "img2img") if isinstance(values.get(name), dict)]
    running = [section for section in sections if section.get("enabled", True) is not False]
    return bool(running) and not running[0].get("prompt")

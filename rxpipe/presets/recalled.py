"""What a file says to run, as configs: the one reader for code, the command line and the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rxpipe.config import PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.presets.jobs import Job, read_job, read_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

__all__ = ["Recalled", "check_complete", "recall", "recall_all"]


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
    """Return what a file says to run, told apart by its content and not by its name.

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
    return Recalled(PipelineConfig.from_mapping(values, source=job.path.name), job.left)


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

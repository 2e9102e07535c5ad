"""`rxpipe lint` and `rxpipe convert`: what is in a file of any tool, and the same as a config of rxpipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rxpipe.cli.outcome import Exit, problem
from rxpipe.config import PipelineConfig
from rxpipe.errors import BadImage, ConfigError
from rxpipe.presets import Job, config_toml, notes_on, read_jobs
from rxpipe.shown import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_KINDS = {
    "config": "a config of rxpipe",
    "picture": "a picture",
    "preset": "a preset of StableNew",
    "pack": "a prompt pack",
    "payload": "a payload of A1111's API",
}


def lint(files: Iterable[Path], preset: Path | None) -> Exit:
    """Print what each file is, what is contradictory in it, and what has no effect.

    Returns:
        USAGE where a file cannot be run as it is, else COMPLETED.
    """
    code = Exit.COMPLETED
    for file in files:
        try:
            jobs = read_jobs(file, preset=preset)
        except (ConfigError, BadImage) as error:
            problem(str(error))
            code = Exit.USAGE
            continue
        if not _lint(file, jobs):
            code = Exit.USAGE
    return code


def _lint(file: Path, jobs: Sequence[Job]) -> bool:
    first = jobs[0]
    count = f", {len(jobs)} prompts" if len(jobs) > 1 else ""
    _say(f"{file}: {_KINDS.get(first.kind, first.kind)}{count}")
    notes = [*first.notes, *notes_on(first.values)]
    listed = [str(note) for note in notes]
    listed += [f"not carried over: {name}" for name in first.left if not any(note.key == name for note in notes)]
    listed += [f"needs: the picture that it was drawn over ({first.source}), with --input"] if first.source else []
    listed += ["needs: a prompt, with --prompt or as a pack"] if first.no_prompt else []
    listed += [f"held back without --trust: {stage}.{name}" for stage, held in first.held.items() for name in held]
    wrong = list(dict.fromkeys(line for job in jobs for line in _problems(job)))
    for line in [*dict.fromkeys(listed), *(f"wrong: {line}" for line in wrong)]:
        _say(f"  {line}")
    if not listed and not wrong:
        _say("  nothing to remark")
    return not wrong


def _problems(job: Job) -> list[str]:
    try:
        PipelineConfig.from_mapping(job.values)
    except ConfigError as error:
        return list(error.problems)
    return []


def convert(file: Path, preset: Path | None, out: Path | None, *, trust: bool | None) -> None:
    """Write what a file says to run as TOML: to stdout, to a file, or for several prompts into a folder.

    Raises:
        ConfigError: it cannot be read, holds what is not allowed, or holds several prompts and *out* is None.
        BadImage: the picture is damaged.
    """
    jobs = [job.trusted(trust=trust) for job in read_jobs(file, preset=preset)]
    texts = [_toml(job) for job in jobs]
    for name in dict.fromkeys(name for job in jobs for name in job.left):
        problem(f"not carried over: {name}")
    if out is None:
        if len(texts) > 1:
            raise ConfigError([f"{file}: holds {len(texts)} prompts; give a folder for them with --out"])
        typer.echo(texts[0], nl=False)
        return
    try:
        if len(texts) == 1:
            target = out / f"{file.stem}.toml" if out.is_dir() else out
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(texts[0], encoding="utf-8")
            return
        out.mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(texts, 1):
            (out / f"{file.stem}-{number:03}.toml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"--out {out}: cannot be written: {error.strerror}"]) from error


def _toml(job: Job) -> str:
    config = PipelineConfig.from_mapping(job.values, source=job.path.name)
    comments = [f"# from {plain(job.path.name, 'utf-8')}{', ' + plain(job.name, 'utf-8') if job.name else ''}"]
    comments += (
        [f"# needs the picture that it was drawn over: --input ({plain(job.source, 'utf-8')})"] if job.source else []
    )
    return "\n".join(comments) + "\n" + config_toml(config)


def _say(text: str) -> None:
    typer.echo(plain(text, "utf-8"))

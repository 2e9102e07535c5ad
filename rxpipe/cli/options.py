"""The options of `rxpipe run`, as configs: one for each run.

The base is a file of any kind, or several, or four default stages; options are applied on top of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.cli.varying import VARIANTS, VaryOptions
from rxpipe.config import STAGE_SECTIONS, PipelineConfig
from rxpipe.config.reading import parse_assignment
from rxpipe.errors import ConfigError
from rxpipe.pictures.folders import pictures_at
from rxpipe.presets.handing import handed_on
from rxpipe.presets.options import apply, check_twice, left_out, option_of, stage_that_takes
from rxpipe.presets.rows import Row, read_rows
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rxpipe.presets.jobs import Job

_STAGES = ", ".join(STAGE_SECTIONS)
_SIZE = re.compile(r"(\d{1,9})\s*[xX*×]\s*(\d{1,9})")  # noqa: RUF001  people write the sign

_FIRST_TRY: Mapping[str, Mapping[str, object]] = {
    "txt2img": {"prompt": "portrait of a woman by the sea, evening light", "images": 2},
    "img2img": {"denoising_strength": 0.25},
    "adetailer": {},
    "upscale": {"scale": 2},
}


class PlannedRun(NamedTuple):
    """One of the runs that options describe.

    name: of the file, and of the prompt in it; "" where there is only one run. left: what is not carried over from the
    file. kind: of the file, "" for none. file: its path, "" for none.
    """

    config: PipelineConfig
    name: str = ""
    left: tuple[str, ...] = ()
    kind: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options given to `rxpipe run`.

    sources: files of any kind; none for four default stages. workflow: a ComfyUI workflow of one's own, in place of
    txt2img. bind: "setting=id.input" each. preset: the settings that prompt packs are drawn with.
    generation: settings of stages by name, of the options that were given. prompts: each a run of its own.
    prompts_file: a list of further ones. vary: what varies. settings: of the run as a whole, likewise.
    size: "WIDTHxHEIGHT" in px, None where it was not given.
    stages: names in order, None for those of the source. assignments: "stage.key=value" each.
    trust: whether settings of a picture that do more than draw are used; None: refuse a picture that has some.
    """

    sources: Sequence[Path] = ()
    preset: Path | None = None
    workflow: Path | None = None
    bind: Sequence[str] = ()
    generation: Mapping[str, object] = field(default_factory=dict)
    prompts: Sequence[str] = ()
    prompts_file: Path | None = None
    vary: VaryOptions = field(default_factory=VaryOptions)
    settings: Mapping[str, object] = field(default_factory=dict)
    size: str | None = None
    input: Sequence[Path] = ()
    stages: Sequence[str] | None = None
    assignments: Sequence[str] = ()
    trust: bool | None = None

    def runs(self) -> list[PlannedRun]:
        """Return the runs that these options describe, in order.

        Raises:
            ConfigError: names everything that is wrong and what is allowed.
            BadImage: a picture to run again cannot be read.
        """
        if self.stages is not None and not self.stages:
            raise ConfigError([f"--stages: names no stage; allowed: {_STAGES}, with commas between them"])
        rows = self._rows()
        if not self.sources:
            if self.preset is not None:
                raise ConfigError(["--preset: there is no prompt pack; give one, or the preset itself with --prompt"])
            return [self._first_run(row, several=len(rows) > 1) for row in rows]
        jobs = [job for source in self.sources for job in self._read(source)]
        self._check_photos(jobs)
        return [self._run(job, row, several=len(jobs) * len(rows) > 1) for job in jobs for row in rows]

    def _check_photos(self, jobs: Sequence[Job]) -> None:
        """Refuse what a shell makes of `--input *.png`: one photo, and the others as pictures to draw again."""
        pictures = [job.path for job in jobs if job.kind == "picture"]
        if self.input and len(pictures) > 1:
            raise ConfigError(
                [f"{path}: stands beside --input, and is read for its settings" for path in pictures],
                hint="For several photos put the pattern in quotes, --input '*.png', or give a folder; a file named "
                "alone is a picture to draw again.",
            )

    def _rows(self) -> list[Row]:
        """Return the prompts that were given, each with its settings; one without a prompt where none was given."""
        rows = [Row({"prompt": prompt}) for prompt in self.prompts]
        rows += read_rows(self.prompts_file) if self.prompts_file is not None else []
        return rows or [Row({})]

    def _first_run(self, row: Row, *, several: bool) -> PlannedRun:
        base: Mapping[str, Any] = {} if self.workflow else self._first_try()
        if "prompt" in row.settings and "txt2img" in base:
            base = {**base, "txt2img": {}}  # the number of images of the first try is not that of a given prompt
        values, lost = self._applied(self._with_workflow(base)[0], row)
        return PlannedRun(self._checked(values, ""), _head(row) if several else "", (*row.left, *lost))

    def _first_try(self) -> Mapping[str, Any]:
        """Return the stages of the first try; its prompt is not for pictures that are given."""
        drawn = not self.input if self.stages is None else "txt2img" in self.stages
        return {name: section for name, section in _FIRST_TRY.items() if drawn or name != "txt2img"}

    def _read(self, source: Path) -> Sequence[Job]:
        from rxpipe.presets.jobs import read_jobs  # noqa: PLC0415  # readers of pictures are loaded for a file only

        return read_jobs(source, preset=self.preset)

    def _run(self, job: Job, row: Row, *, several: bool) -> PlannedRun:
        from rxpipe.presets.recalled import check_complete, drawn_over  # noqa: PLC0415  # loaded for a file only

        job = job.trusted(trust=self.trust)
        left = job.left
        if self.input and self.stages is None and job.kind != "config":
            over, lost = drawn_over(job.values)
            job, left = job._replace(values=over), (*left, *lost)
        drawn, unbound = self._with_workflow(job.values)
        values, lost = self._applied(drawn, row)
        left = (*left, *unbound, *lost, *self._stages_left_out(drawn, values))
        prompt_given = "prompt" in row.settings or any(".prompt=" in each for each in self.assignments)
        check_complete(job, values, prompt_given=prompt_given)
        name = " ".join(part for part in (job.path.name, job.name, _head(row)) if part) if several else ""
        config = self._checked(values, job.path.name)
        self._check_stages(job, drawn, values)
        return PlannedRun(config, name, (*left, *row.left), job.kind, str(job.path))

    def _with_workflow(self, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Return values with the workflow in place of txt2img, or with its bindings added to those of the file.

        Second, the settings of txt2img that the workflow has no place for.

        Raises:
            ConfigError: a binding is not of the form setting=id.input, or there is no workflow.
        """
        wrong = [text for text in self.bind if not all(text.partition("=")[::2])]
        if wrong:
            raise ConfigError(
                [f"--bind {shown(text)}: should be setting=id.input, such as prompt=6.text" for text in wrong]
            )
        section = values.get("workflow")
        if self.workflow is None and not self.bind:
            return values, ()
        if self.workflow is None and not isinstance(section, dict):
            raise ConfigError(["--bind: there is no workflow; give one with --workflow FILE"])
        bind: dict[str, list[str]] = {}
        for text in self.bind:
            name, _, target = text.partition("=")
            bind.setdefault(name.strip(), []).append(target.strip())
        before = section if isinstance(section, dict) else {}
        merged = {**before, "bind": {**before.get("bind", {}), **bind}}
        if self.workflow is None:
            return {**values, "workflow": merged}, ()
        running = {name: value for name, value in values.items() if name != "txt2img"}
        running["workflow"] = {**merged, "file": str(self.workflow)}
        changed, lost = handed_on(left_out(values, running), running)
        return {**running, **changed}, lost

    def _applied(self, values: Mapping[str, Any], row: Row) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return values with the options, and the settings of stages that --input leaves out and no other takes."""
        pictures = {"input": [str(path) for path in pictures_at(self.input)]} if self.input else {}
        check_twice(self.assignments)
        made = apply(
            values,
            stages=self.stages,
            generation={**self.generation, **self._size(), **row.settings},
            settings={**self.settings, **pictures},
            sets=[*self.assignments, *row.sets],
        )
        texts = (row.settings.get("prompt"), self.generation.get("negative_prompt"))
        sets = [*self.assignments, *row.sets]
        self._check_said_twice(made)
        lost = () if self.stages is not None else handed_on(left_out(values, made, sets), made)[1]
        return self.vary.applied(made, [text for text in texts if isinstance(text, str)]), lost

    def _check_said_twice(self, values: Mapping[str, Any]) -> None:
        """Refuse an option beside an assignment to the same setting, which it would overwrite."""
        stages = [name for name in STAGE_SECTIONS if name in values]
        names = {**self.generation, **({"prompt": ""} if self.prompts else {}), **self._size()}
        options = {f"{stage_that_takes(name, stages)}.{name}": option_of(name) for name in names}
        options |= {"txt2img.hires.scale": "--hires"} if "hires" in self.generation else {}
        options |= {name: option_of(name) for name in self.settings}
        set_keys = [".".join(parse_assignment(each).keys) for each in self.assignments]
        if twice := [
            f"{options[key]} and --set {key} say the same twice; give one" for key in set_keys if key in options
        ]:
            raise ConfigError(twice)

    def _stages_left_out(self, before: Mapping[str, Any], values: Mapping[str, Any]) -> Sequence[str]:
        gone = left_out(before, values) if self.stages is not None else ()
        return [f"{name} (left out by --stages)" for name in gone]

    def _check_stages(self, job: Job, before: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Refuse a file of which no stage runs.

        Args:
            job: of the file. before, values: of it without and with the options.
        """
        if any(name in values for name in (*STAGE_SECTIONS, "custom")):
            return
        present = [name for name in STAGE_SECTIONS if name in before]
        if not present:
            raise ConfigError(
                [f"{job.path}: has no stage"], hint=f"Add a section such as [txt2img]; the stages are {_STAGES}."
            )
        if self.input and left_out(before, values, self.assignments):
            raise ConfigError(
                [f"{job.path}: no stage is left, as --input starts from a picture in place of txt2img"],
                hint="To draw over the picture with these settings add --stages img2img; to enlarge it, "
                "--stages upscale.",
            )
        raise ConfigError(
            [f"{job.path}: no stage is left, as {' and '.join(present)} {_be(present)} switched off"],
            hint=f"Add --set {present[0]}.enabled=true, or --stages with those that run.",
        )

    def _checked(self, values: Mapping[str, Any], source: str) -> PipelineConfig:
        try:
            config = PipelineConfig.from_mapping(values, source=source)
        except ConfigError as error:
            raise ConfigError(
                [self._by_option(line, values, source) for line in error.problems], hint=error.hint
            ) from error
        if "quality" in self.settings and config.format == "png":
            raise ConfigError(["--quality: a png has none; add --format jpeg or --format webp, or leave it out"])
        return config

    def _by_option(self, problem: str, values: Mapping[str, object], name: str) -> str:
        """Return a problem of the config, named by the option whose value it is about."""
        source = f"{name}: " if name else ""
        stages = [name for name in STAGE_SECTIONS if name in values]
        options = {*self.generation, *(["prompt"] if self.prompts else [])}
        given = {f"{stage_that_takes(name, stages)}.{name}": option_of(name) for name in options}
        given |= {name: option_of(name) for name in self.settings} | VARIANTS
        given |= {"txt2img.hires.scale": "--hires"} if "hires" in self.generation else {}
        given |= {f"txt2img.{name}": f"--size ({name})" for name in self._size()}
        for where, option in given.items():
            if problem.startswith(f"{source}{where}:"):
                return option + problem.removeprefix(f"{source}{where}")
        return problem

    def _size(self) -> Mapping[str, object]:
        if self.size is None:
            return {}
        parts = _SIZE.fullmatch(self.size.strip())
        if parts is None:
            raise ConfigError([f"--size: got {shown(self.size)}, should be WIDTHxHEIGHT in px, such as 768x512"])
        if both := [f"--{name}" for name in ("width", "height") if name in self.generation]:
            raise ConfigError([f"--size and {' and '.join(both)} say the same twice; give one of them"])
        return {"width": int(parts[1]), "height": int(parts[2])}


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _head(row: Row) -> str:
    return shown(row.settings["prompt"])[1:-1] if "prompt" in row.settings else ""

"""Read what to run from a file: a config, a picture, a preset or a pack of StableNew's, a payload of A1111's.

The content decides what a file is, whatever its name.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from rxpipe.config import PipelineConfig
from rxpipe.config.bounds import MAX_BYTES
from rxpipe.config.texts import ALLOWED, is_binary, parse_config
from rxpipe.errors import ConfigError
from rxpipe.presets import pack as packs
from rxpipe.presets import payload, stablenew
from rxpipe.presets.notes import Note
from rxpipe.presets.picture import ALLOWED_PICTURE, Held, is_picture, values_of_picture
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_MOST_BESIDE = 1000  # files of a folder that are looked through for a name like one that is not there
_HEAD = 4096  # bytes that show what a file is; the rest of one that is nothing known is not read
_PIPE_BYTES = 64 << 20  # of what cannot be sought in, and must be in memory
_ALLOWED = f"{ALLOWED}, or {ALLOWED_PICTURE}"
_NO_PROMPT = "the preset names none"
_GLOBAL_NEGATIVE = "global_negative.txt"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64} \(\d+ bytes\)")


class Job(NamedTuple):
    """What to run, as a file says it. kind: the name of one of `KINDS` or `SHAPES`. values: of a config, unchecked.

    held: settings of a picture that do more than draw, by stage and name; *values* are without them. They come
    from the author of the picture, and a server obeys them: see `trusted`. left: what is not carried over. source: the
    picture that it was drawn over, "" for none. no_prompt: why there is no prompt, "" where there is one. name: which
    of several in one file it is. notes: about the keys of a foreign file.
    """

    path: Path
    kind: str
    values: dict[str, Any]
    held: Held = MappingProxyType({})
    left: tuple[str, ...] = ()
    source: str = ""
    no_prompt: str = ""
    name: str = ""
    notes: tuple[Note, ...] = ()

    def trusted(self, *, trust: bool | None) -> Job:
        """Return the job with what is held back among its values (True), or without it (False).

        Raises:
            ConfigError: *trust* is None and something is held back; lists it.
        """
        if trust is None and self.held:
            raise ConfigError(
                [
                    f"{self.path}: {stage}.{name} would be sent: {shown(value)}"
                    for stage, settings in self.held.items()
                    for name, value in settings.items()
                ],
                hint="A picture's settings come from whoever made it. Add --trust to send these too, or --no-trust to "
                "leave them out (in code: trust=True or False).",
            )
        if not trust or not self.held:
            return self._replace(held={})
        if gone := [f"{stage}.{name}" for stage, held in self.held.items() for name in held if _is_digest(held[name])]:
            raise ConfigError(
                [f"{self.path}: {where}: recorded only as a digest, too long for a picture" for where in gone],
                hint="Leave it out with --no-trust (in code: trust=False), and give it anew with --set.",
            )
        values = {**self.values, **{stage: {**self.values[stage], **held} for stage, held in self.held.items()}}
        return self._replace(values=values, held={})

    def config(self, *, trust: bool | None = None) -> PipelineConfig:
        """Return the values as a config.

        Args:
            trust: as of `trusted`.

        Raises:
            ConfigError: names the file and every wrong setting, or every setting that is held back.
        """
        return PipelineConfig.from_mapping(self.trusted(trust=trust).values, source=self.path.name)


def _is_digest(value: object) -> bool:
    """Whether a value, or one within, was recorded as its digest only."""
    if isinstance(value, Mapping):
        return any(map(_is_digest, value.values()))
    if isinstance(value, list):
        return any(map(_is_digest, value))
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


# -- kinds of files ---------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """One kind of file.

    accepts: whether the first bytes, up to 4096, are of it. read: the jobs in the open file; the last argument is a
    preset that they are drawn with, None for none.
    """

    name: str
    accepts: Callable[[bytes], bool]
    read: Callable[[BinaryIO, Path, Path | None], Sequence[Job]]


def _read_picture(file: BinaryIO, path: Path, preset: Path | None) -> Sequence[Job]:
    if preset is not None:
        raise ConfigError([f"{path}: a picture has settings of its own; --preset is for prompt packs"])
    found = values_of_picture(file, path)
    return (Job(path, "picture", found.values, found.held, found.left, found.source, found.no_prompt),)


def _read_text(file: BinaryIO, path: Path, preset: Path | None) -> Sequence[Job]:
    data = file.read(MAX_BYTES + 1)
    text = _text(data)
    if text is not None and (preset is not None or _is_pack(path, text)) and not _is_structured(text):
        return _pack_jobs(path, packs.pack_of_text(text, tabs=path.suffix.lower() == ".tsv"), preset)
    values = parse_config(data, path, allowed=_ALLOWED)
    # Those tools write JSON: a key of theirs in TOML or YAML is a mistake in a config.
    if (text or "").lstrip().startswith("{") or stablenew.is_marked(values):
        for shape in SHAPES:
            if shape.accepts(values):
                return shape.read(values, path, preset)
    if preset is not None:
        raise ConfigError([f"{path}: a config has settings of its own; --preset is for prompt packs"])
    return (Job(path, "config", values),)


KINDS = (
    Kind("picture", is_picture, _read_picture),
    Kind("text", lambda head: not is_binary(head), _read_text),
)
"""Every kind of file that a job can be read from; the first that accepts a file reads it."""


class Shape(NamedTuple):
    """One shape that the values in a TOML, YAML or JSON file can have, other than a config's own."""

    name: str
    accepts: Callable[[Mapping[str, object]], bool]
    read: Callable[[Mapping[str, object], Path, Path | None], Sequence[Job]]


def _read_preset(values: Mapping[str, object], path: Path, preset: Path | None) -> Sequence[Job]:
    named, missing = _packs_named(values, path)
    if prompts := packs.pack_of_slots(values.get("pack_data")) or named:
        jobs = _pack_jobs(path, prompts, preset, own=values)
        return [job._replace(left=(*job.left, *missing)) for job in jobs]
    if preset is not None:
        raise ConfigError([f"{path}: holds no prompts; --preset is for prompt packs"])
    read = _preset(values, path)
    first: Mapping[str, Any] = next((read.values[name] for name in ("txt2img", "img2img") if name in read.values), {})
    matrix = _matrix(values) or read.matrix
    if first.get("prompt") and matrix is not None:
        return _drawn(path, [packs.Prompt(str(first["prompt"]), "", "prompt 1")], read, matrix)
    why = "; ".join([_NO_PROMPT, *missing])
    return (_job(path, read, "" if first.get("prompt") else why),)


def _read_payload(values: Mapping[str, object], path: Path, preset: Path | None) -> Sequence[Job]:
    if preset is not None:
        raise ConfigError([f"{path}: a payload has settings of its own; --preset is for prompt packs"])
    found = payload.read_payload(values)
    values_, source = found.values, found.source
    if source and "img2img" in values_ and (path.parent / source).is_file():
        values_, source = {**values_, "input": [str(path.parent / source)]}, ""
    prompt = "" if found.has_prompt else "the payload names none"
    return (Job(path, "payload", values_, source=source, no_prompt=prompt, notes=tuple(found.notes)),)


def _read_application(_values: Mapping[str, object], path: Path, _preset: Path | None) -> Sequence[Job]:
    raise ConfigError(
        [f"{path}: settings of StableNew's window, which say nothing about a picture"],
        hint="Give one of the presets that stand beside it.",
    )


SHAPES = (
    Shape("application", stablenew.is_application, _read_application),
    Shape("preset", stablenew.is_preset, _read_preset),
    Shape("payload", payload.is_payload, _read_payload),
)
"""Every shape of values that is no config of rxpipe; the first that accepts them reads them."""


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_pack(path: Path, text: str) -> bool:
    """Whether a text is recognised as a pack: by what it says, or by the JSON of a pack that stands beside it."""
    if packs.is_pack_text(text):
        return True
    beside = _beside(path, ".json") if path.suffix.lower() in {".txt", ".tsv"} else None
    if beside is None:
        return False
    try:
        return stablenew.is_preset(_values_of(beside))
    except ConfigError:
        return False


def _is_structured(text: str) -> bool:
    return text.lstrip()[:1] in {"{", "["} and text.lstrip()[:2] != "[["


# -- presets and packs ------------------------------------------------------------------------------------------------


def _preset(values: Mapping[str, object], path: Path) -> stablenew.Preset:
    return stablenew.read_preset(values, path.name)


def _pack_jobs(
    path: Path, prompts: Sequence[packs.Prompt], preset: Path | None, own: Mapping[str, object] | None = None
) -> Sequence[Job]:
    """Return a job for each prompt of a pack, drawn with a preset: the one given, else the pack's own, else none."""
    beside = own or _values_of(_beside(path, ".json"))
    chosen = _values_of(preset) if preset is not None else beside
    if preset is not None and not _is_preset_or_config(chosen):
        raise ConfigError([f"{preset}: no preset: it has no stage sections such as txt2img"])
    where = preset or path
    read = _preset(chosen, where) if stablenew.is_preset(chosen) else stablenew.Preset(dict(chosen), [], None)
    if "txt2img" not in read.values:
        read.values["txt2img"] = {}
    if not prompts:
        raise ConfigError([f"{path}: a prompt pack without a prompt"])
    return _drawn(path, list(prompts), read, _matrix(beside) or read.matrix, preset)


def _is_preset_or_config(values: Mapping[str, object]) -> bool:
    return stablenew.is_preset(values) or any(name in values for name in ("txt2img", "img2img", "upscale", "adetailer"))


def _drawn(
    path: Path,
    prompts: list[packs.Prompt],
    read: stablenew.Preset,
    matrix: Mapping[str, Any] | None,
    preset: Path | None = None,
) -> Sequence[Job]:
    filled = packs.with_slots(prompts, matrix, str(path))
    negative = _global_negative(preset or path) if read.global_negative else ""
    jobs = []
    for each in filled:
        job = _job(path, read, "")
        section = job.values["txt2img"]
        parts = (each.negative_prompt, str(section.get("negative_prompt") or ""), negative)
        drawn = {**section, "prompt": each.prompt, "negative_prompt": ", ".join(part for part in parts if part)}
        jobs.append(
            job._replace(
                values={**job.values, "txt2img": drawn}, name=each.name if len(filled) > 1 else "", kind="pack"
            )
        )
    return jobs


def _job(path: Path, read: stablenew.Preset, no_prompt: str) -> Job:
    left = tuple(note.key for note in read.notes if note.active)
    notes = [*read.notes, *_on_global_negative(path, read)]
    values = dict(read.values)
    if read.global_negative and no_prompt and (negative := _global_negative(path)) and "txt2img" in values:
        own = values["txt2img"].get("negative_prompt")
        values["txt2img"] = {**values["txt2img"], "negative_prompt": f"{own}, {negative}" if own else negative}
    return Job(path, "preset", values, left=left, no_prompt=no_prompt, notes=tuple(notes))


def _on_global_negative(path: Path, read: stablenew.Preset) -> Iterator[Note]:
    """Yield a note on the text that StableNew excludes from every picture, where the preset asks for it."""
    if read.global_negative:
        found = next((file for file in _global_negatives(path) if file.is_file()), None)
        key = "pipeline.apply_global_negative_txt2img"
        if found is not None:
            yield Note("read as", key, f"the text of {found} stands behind each negative prompt")
        elif read.asks_for_global:
            yield Note("no effect", key, f"there is no {_GLOBAL_NEGATIVE} beside it or in ../presets")


def _matrix(values: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Return the matrix of a pack in JSON; None without one, or where it is off."""
    data = values.get("pack_data")
    matrix = data.get("matrix") if isinstance(data, Mapping) else None
    return matrix if isinstance(matrix, Mapping) and matrix.get("enabled", True) else None


def _packs_named(values: Mapping[str, object], path: Path) -> tuple[list[packs.Prompt], list[str]]:
    """Return the prompts of the packs that a file of last settings names, or of the text beside a pack's JSON.

    Second, the packs that are not there.
    """
    names = values.get("selected_packs")
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    prompts: list[packs.Prompt] = []
    missing: list[str] = []
    for name in listed:
        for folder in (path.parent, path.parent.parent / "packs"):
            file = folder / Path(name.replace("\\", "/")).name
            if (text := _read_small(file)) is not None:
                found = packs.pack_of_text(text, tabs=file.suffix.lower() == ".tsv")
                prompts += [each._replace(name=f"{file.name} {each.name}") for each in found]
                break
        else:
            missing.append(f"the pack {cut(name)}, which is not there")
    if not listed and "pack_data" in values and (text := _read_small(_beside(path, ".txt"))) is not None:
        prompts = packs.pack_of_text(text)
    return prompts, missing


def _beside(path: Path, ending: str) -> Path | None:
    """Return the file of the same name with another ending, if it is there."""
    with contextlib.suppress(OSError, ValueError):
        other = path.with_suffix(ending)
        if other != path and other.is_file():
            return other
    return None


def _values_of(path: Path | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return parse_config(file.read(MAX_BYTES + 1), path, allowed=_ALLOWED)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def _read_small(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return _text(file.read(MAX_BYTES))
    except OSError:
        return None


def _global_negative(path: Path) -> str:
    """Return what StableNew excludes from every picture: the text beside its presets; "" where there is none."""
    texts = (_read_small(file) for file in _global_negatives(path))
    return next((" ".join(text.split()) for text in texts if text), "")


def _global_negatives(path: Path) -> tuple[Path, Path]:
    return path.parent / _GLOBAL_NEGATIVE, path.parent.parent / "presets" / _GLOBAL_NEGATIVE


# -- reading ----------------------------------------------------------------------------------------------------------


def read_jobs(path: Path | str, *, preset: Path | str | None = None) -> list[Job]:
    """Read everything that a file says to run: one job, or one for each prompt of a pack.

    Args:
        path: of any kind. preset: the settings that the prompts of a pack are drawn with; None for the pack's own.

    Raises:
        ConfigError: the file cannot be read or is of no known kind; or the picture does not say how it was made.
        BadImage: the picture is damaged.
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            head = file.read(_HEAD)
            kind = next((kind for kind in KINDS if kind.accepts(head)), None)
            if kind is None:
                raise ConfigError([f"{path}: looks like binary data; allowed: {_ALLOWED}"])
            file.seek(0)
            return list(kind.read(file, path, None if preset is None else Path(preset)))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    if path.is_dir():
        hint = "Give a file in it. Pictures of a folder are drawn over with --input (in code: input=)."
        return ConfigError([f"{path}: is a folder, and no config file or picture"], hint=hint)
    if not isinstance(error, FileNotFoundError):
        return ConfigError([f"{path}: cannot be read: {error.strerror}"])
    with contextlib.suppress(OSError):
        beside = [each.name for each in itertools.islice(path.parent.iterdir(), _MOST_BESIDE)]
        if near := difflib.get_close_matches(path.name, beside, n=1, cutoff=0.7):
            hint = f"Did you mean {path.with_name(near[0])}?"
            return ConfigError([f"{path}: no such config file or picture"], hint=hint)
    to_draw = None if path.suffix else 'To generate it: rxpipe run --prompt "..."'
    return ConfigError([f"{path}: no such config file or picture"], hint=to_draw)


def read_job(path: Path | str) -> Job:
    """Read what to run from a file that holds one job.

    Raises:
        ConfigError: as `read_jobs`; or it holds several.
        BadImage: the picture is damaged.
    """
    jobs = read_jobs(path)
    if len(jobs) > 1:
        raise ConfigError(
            [f"{path}: holds {len(jobs)} prompts, each a run of its own"],
            hint="Run them all with `rxpipe run`, or in code with rxpipe.recall_all.",
        )
    return jobs[0]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that can be sought in, whatever it is."""
    with path.open("rb") as file:
        yield file if file.seekable() else io.BytesIO(file.read(_PIPE_BYTES))

"""Read what to run from a file: a config or a picture, told apart by its first bytes and never by its name."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from rxpipe.config import PipelineConfig
from rxpipe.config.bounds import MAX_BYTES
from rxpipe.config.texts import ALLOWED, is_binary, parse_config
from rxpipe.errors import BadImage, ConfigError
from rxpipe.presets.picture import ALLOWED_PICTURE, Held, is_picture, values_of_picture
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD = 4096  # bytes that show what a file is; the rest of one that is nothing known is not read
_PIPE_BYTES = 64 << 20  # of what cannot be sought in, and must be in memory
_ALLOWED = f"{ALLOWED}, or {ALLOWED_PICTURE}"


class Kind(NamedTuple):
    """One kind of file.

    accepts: whether the first bytes, up to 4096, are of it. read: the values of a config in the open file, and those
    of them that are not to be sent unasked.
    """

    name: str
    accepts: Callable[[bytes], bool]
    read: Callable[[BinaryIO, Path], tuple[dict[str, Any], Held]]


def _read_config(file: BinaryIO, path: Path) -> tuple[dict[str, Any], Held]:
    return parse_config(file.read(MAX_BYTES + 1), path, allowed=_ALLOWED), {}


KINDS = (
    Kind("picture", is_picture, values_of_picture),
    Kind("config", lambda head: not is_binary(head), _read_config),
)
"""Every kind of file that a job can be read from; the first that accepts a file reads it."""


_DIGEST = re.compile(r"sha256:[0-9a-f]{64} \(\d+ bytes\)")


def _is_digest(value: object) -> bool:
    """Whether a value, or one within, was recorded as its digest only."""
    if isinstance(value, Mapping):
        return any(map(_is_digest, value.values()))
    if isinstance(value, list):
        return any(map(_is_digest, value))
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


class Job(NamedTuple):
    """What to run, as a file says it. kind: the name of one of `KINDS`. values: of a config, unchecked.

    held: settings of a picture that do more than draw, by stage and name; *values* are without them. Whoever made the
    picture has written them, and a server obeys them: see `trusted`.
    """

    path: Path
    kind: str
    values: dict[str, Any]
    held: Held = MappingProxyType({})

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


def read_job(path: Path | str) -> Job:
    """Read what to run from a config in TOML, YAML or JSON, or from a picture that says how it was made.

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
            return Job(path, kind.name, *kind.read(file, path))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that can be sought in, whatever it is."""
    with path.open("rb") as file:
        yield file if file.seekable() else io.BytesIO(file.read(_PIPE_BYTES))


def config_from_picture(path: Path | str, *, trust: bool | None = None) -> PipelineConfig:
    """Return the config that renders a picture again: one image of the same seed, through the same stages.

    Understands what rxpipe, A1111, Forge, ComfyUI and others write into their pictures.

    Args:
        trust: as of `load_job`.

    Raises:
        BadImage: the picture cannot be read. ConfigError: it does not say how it was made, or what no config can say,
            or has settings that do more than draw.
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            values, held = values_of_picture(file, path)
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror}.", hint="Give the path of a picture.") from error
    return Job(path, "picture", values, held).config(trust=trust)


def load_job(path: Path | str, *, trust: bool | None = None) -> PipelineConfig:
    """Return the config in a file: of TOML, YAML or JSON, or of a picture, which it renders again.

    The file's content decides what it is, whatever its name. A picture gives one image of the same seed.

    Args:
        trust: whether to take settings of a picture that do more than draw, such as options of the server. None raises
            where there are any.

    Raises:
        ConfigError: the file is of no known kind, or names every wrong setting; or the picture does not say how it was
            made; or it has settings that do more than draw.
        BadImage: the picture is damaged.
    """
    return read_job(path).config(trust=trust)

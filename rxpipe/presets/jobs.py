"""Read what to run from a file: a config or a picture, told apart by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config import PipelineConfig
from rxpipe.config.texts import ALLOWED, is_binary, parse_config
from rxpipe.errors import ConfigError
from rxpipe.presets.picture import ALLOWED_PICTURE, is_picture, values_of_picture

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = 4096  # bytes that show what a file is; the rest of one that is nothing known is not read
_ALLOWED = f"{ALLOWED}, or {ALLOWED_PICTURE}"


class Kind(NamedTuple):
    """One kind of file.

    accepts: whether the first bytes, up to 4096, are of it. read: the values of a config in the whole file's bytes.
    """

    name: str
    accepts: Callable[[bytes], bool]
    read: Callable[[bytes, Path], dict[str, Any]]


KINDS = (
    Kind("picture", is_picture, values_of_picture),
    Kind("config", lambda head: not is_binary(head), lambda data, path: parse_config(data, path, allowed=_ALLOWED)),
)
"""Every kind of file that a job can be read from; the first that accepts a file reads it."""


class Job(NamedTuple):
    """What to run, as a file says it. kind: the name of one of `KINDS`. values: of a config, unchecked."""

    path: Path
    kind: str
    values: dict[str, Any]

    def config(self) -> PipelineConfig:
        """Return the values as a config.

        Raises:
            ConfigError: names the file and every wrong setting.
        """
        return PipelineConfig.from_mapping(self.values, source=self.path.name)


def read_job(path: Path | str) -> Job:
    """Read what to run from a config in TOML, YAML or JSON, or from a picture that says how it was made.

    Raises:
        ConfigError: the file cannot be read or is of no known kind; or the picture does not say how it was made.
        BadImage: the picture is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            kind = next((kind for kind in KINDS if kind.accepts(head)), None)
            data = head + file.read() if kind is not None else head
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if kind is None:
        raise ConfigError([f"{path}: looks like binary data; allowed: {_ALLOWED}"])
    return Job(path, kind.name, kind.read(data, path))


def load_job(path: Path | str) -> PipelineConfig:
    """Return the config in a file: of TOML, YAML or JSON, or of a picture, which it renders again.

    The file's content decides what it is, whatever its name. A picture gives one image of the same seed.

    Raises:
        ConfigError: the file is of no known kind, or names every wrong setting; or the picture does not say how it was
            made.
        BadImage: the picture is damaged.
    """
    return read_job(path).config()

"""Which backend is opened: the one named, else by environment, config file, a running server, else the embedded one.

`KINDS` is the table of what there is; a new kind is one line there. Neither HTTP nor numpy is loaded before a backend
is opened; ports are probed with the standard library.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from rxpipe.backends.asking import ask_all
from rxpipe.backends.comfyui.kind import COMFYUI
from rxpipe.backends.dask.kind import DASK
from rxpipe.backends.diffusers.kind import DIFFUSERS
from rxpipe.backends.http.address import without_credentials
from rxpipe.backends.kind import BackendKind
from rxpipe.backends.webui.kind import WEBUI
from rxpipe.config.bounds import MAX_BYTES
from rxpipe.config.texts import parse_toml
from rxpipe.errors import ConfigError, require, suggestion
from rxpipe.logs import logger
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rxpipe.backends.base import Backend
    from rxpipe.backends.kind import Found

BACKEND_VARIABLE = "RXPIPE_BACKEND"
"""Environment variable that names the backend, in any form that `open_backend` takes."""

CONFIG_VARIABLE = "RXPIPE_CONFIG"
"""Environment variable that names the config file, where it is not in its usual place."""

_PROBE_S = 0.5
_AUTO = ("", "auto")
_HOST = re.compile(r"\[?[\w.:-]+\]?:\d+(/.*)?|:?\d{2,5}|localhost(/.*)?|[\w-]+(\.[\w-]+)+(/.*)?")
_UNSEPARATED = re.compile(r"[\s;|]+\w+://")


def _load_sketch() -> Callable[..., Backend]:
    from rxpipe.backends.sketch import SketchBackend  # noqa: PLC0415  # numpy only where it is used

    return SketchBackend


def _load_pool() -> Callable[..., Backend]:
    from rxpipe.backends.pool import PoolBackend  # noqa: PLC0415  # only where several are named

    return PoolBackend


EMBEDDED = BackendKind(
    name="embedded",
    load=_load_sketch,
    words=("sketch",),
    examples=("'embedded'", "'embedded:pace=0.05'"),
    title="the embedded backend",
    needs=("numpy", "skimage"),
)
"""The kind that is opened where no server is found."""

KINDS = (EMBEDDED, WEBUI, COMFYUI, DIFFUSERS, DASK)

POOL = BackendKind(name="pool", load=_load_pool)
"""Several backends as one: what addresses with commas between them mean."""


def open_backend(where: str | int | None = None, *, ports: Sequence[int] | None = None, **options: Any) -> Backend:
    """Open the backend that *where* names.

    Args:
        where: "http://host:port" (or "host:port", or a port on this machine) for a WebUI, with "user:password@" where
            it needs that; "comfyui://host:port"; "dask://host:port" for the scheduler of a cluster; "embedded" for the
            one that needs no server, "embedded:name=value,..." with options; "diffusers:MODEL" (a file, a folder, or a
            name in RXPIPE_MODELS) for a local model, "diffusers:MODEL?device=cpu&..." with options,
            "?devices=cuda:0,cuda:1" for a process each; several of them with commas between for a pool;
            None or "auto": RXPIPE_BACKEND, else `backend.url` or `backend.urls` (a list) in the config file, else a
            WebUI that answers on 127.0.0.1:7860 to 7864 or a ComfyUI on 127.0.0.1:8188, else the embedded one.
        ports: on this machine where "auto" looks for a server; None for the usual ones.
        options: of that backend's constructor.

    Which one is opened, and why, is in `backend.description` and in one line of the log.

    Raises:
        ConfigError: *where*, an option or the config file is not what is allowed; the message says what is.
        MissingPackage: the extra that the backend needs is not installed.
        BackendRejected: a local model that is not there, or that is not drawn here.
    """
    spec = choose(str(where) if isinstance(where, int) else where, ports=ports)
    backend = open_spec(spec, options)
    backend.description = f"{backend.description} ({spec.reason})"
    logger.bind(backend=backend.name).info("backend: {}", backend.description)
    return backend


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """Which backend is to be opened. options: from where it was named, credentials among them. reason: for people.

    url: empty for a kind without servers. members: of a pool, at least two; options of a pool are those of each member.
    guessed: the address could be of servers of several kinds; which one it is, only its answer shows.
    """

    kind: BackendKind
    reason: str
    url: str = field(default="", repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    members: tuple[BackendSpec, ...] = ()
    guessed: bool = False


def choose(where: str | None = None, *, ports: Sequence[int] | None = None) -> BackendSpec:
    """Return what `open_backend` would open, without opening it. Raises ConfigError as it does."""
    if where is not None and where.strip() not in _AUTO:
        return _from_text(where.strip(), "as asked for")
    from_environment = os.environ.get(BACKEND_VARIABLE, "").strip()
    if from_environment not in _AUTO:
        return _from_text(from_environment, f"from {BACKEND_VARIABLE}")
    return _from_file(config_path()) or _probe_local(ports)


def usual_url() -> str:
    """Return the address that a server on this machine has by default."""
    return next(f"http://127.0.0.1:{kind.default_port}" for kind in KINDS if kind.default_port is not None)


def config_path() -> Path:
    """Return where the user's config file is, whether it exists or not."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_config_dir("rxpipe", appauthor=False)) / "config.toml"


# -- what a text means ------------------------------------------------------------------------------------------------


def _from_text(text: str, reason: str, options: Mapping[str, Any] | None = None) -> BackendSpec:
    parts = _parts(text)
    if len(parts) > 1:
        return _of_several(parts, reason, options)
    text = parts[0] if parts else text
    word, _, rest = text.partition(":")
    kind = next((kind for kind in KINDS if word.lower() in (kind.name, *kind.words)), None)
    if kind is None:
        kind = _kind_of_address(text, reason)
        return BackendSpec(kind, reason, url=text, options=options or {}, guessed=_is_plain(text, kind))
    if kind.schemes:  # "webui:8080", "webui://host"
        return BackendSpec(kind, reason, url=rest.removeprefix("//") or str(kind.default_port), options=options or {})
    parsed = _parsed_options(text, rest) if kind.path is None else _path_options(kind.path, text, rest)
    return BackendSpec(kind, reason, options={**parsed, **(options or {})})


def _of_several(texts: Sequence[str], reason: str, options: Mapping[str, Any] | None) -> BackendSpec:
    """Return a pool; of one text that backend alone."""
    if len(texts) > 1 and any(text.strip().lower() in _AUTO for text in texts):
        came = cut(",".join(map(without_credentials, texts)))
        raise ConfigError([f"backend {came!r} ({reason}): auto stands alone; of several each needs its address"])
    members = tuple(_from_text(text.strip(), reason, options) for text in texts)
    return members[0] if len(members) == 1 else BackendSpec(POOL, reason, members=members)


def _parts(text: str) -> list[str]:
    """Split a text at the commas between backends, and not at those within options, a path or a password."""
    parts: list[str] = []
    for part in (each.strip() for each in text.split(",") if each.strip()):
        if parts and "://" not in part and not _is_kind(part) and _goes_on(parts[-1], part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _goes_on(before: str, part: str) -> bool:
    """Whether a *part* behind a comma belongs to what is before it."""
    if _has_path(before):
        return "?" in before or not _is_address(part)
    if _is_kind(before) and "://" not in before:
        return "=" in part
    return "@" not in before and not _is_address(before)  # a password may hold a comma


def _has_path(text: str) -> bool:
    word = text.partition(":")[0].lower()
    return any(kind.path is not None and word in (kind.name, *kind.words) for kind in KINDS)


def _is_kind(text: str) -> bool:
    return text.partition(":")[0].lower() in {word for kind in KINDS for word in (kind.name, *kind.words)}


def _path_options(name: str, text: str, rest: str) -> dict[str, Any]:
    path, _, query = rest.partition("?")
    if not path:
        word = text.partition(":")[0]
        raise ConfigError(
            [
                (
                    f"backend {word!r}: no {name} is named; allowed: {word}:PATH or {word}:NAME, "
                    f"with options behind it as in {word}:PATH?device=cpu"
                )
            ]
        )
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if any(not equals or not key for key, equals, _ in pairs):
        raise ConfigError([f"backend {cut(text)!r}: options are name=value, as in ?device=cpu&dtype=float32"])
    return {name: path, **{key: _scalar(value) for key, _, value in pairs}}


def _is_address(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return _HOST.fullmatch(rest if separator else scheme) is not None or _is_kind(text)


def _kind_of_address(text: str, reason: str) -> BackendKind:
    """Return the kind that an address means: by its scheme, and the first kind with servers where it has none."""
    bare = without_credentials(text)
    if _UNSEPARATED.search(bare):
        raise ConfigError([f"backend {cut(bare)!r} ({reason}): several addresses have commas between them"])
    scheme, separator, rest = bare.partition("://")
    servers = [kind for kind in KINDS if kind.schemes]
    for kind in servers:
        if (rest and scheme.lower() in kind.schemes) if separator else _HOST.fullmatch(bare):
            return kind
    words = [word for kind in KINDS for word in (kind.name, *kind.words)]
    close = difflib.get_close_matches(bare.partition(":")[0].lower(), (*words, "auto"), n=1, cutoff=0.6)
    did_you_mean = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError([f"backend {cut(bare)!r} ({reason}): {did_you_mean}{_allowed()}"])


def _is_plain(text: str, kind: BackendKind) -> bool:
    """Whether an address says neither by its scheme nor by a port of the kind what answers there."""
    bare = without_credentials(text).rstrip("/")
    return kind.schemes[0].startswith("http") and _port_of(bare) not in kind.ports


def _port_of(bare: str) -> int | None:
    found = re.search(r"(?:^|:)(\d{2,5})(?:/|$)", bare.partition("://")[2] or bare)
    return int(found[1]) if found else None


def recognised(spec: BackendSpec, options: Mapping[str, Any]) -> BackendSpec:
    """Return the spec with the kind of server that answers at its address; by its port where nothing does."""
    if not spec.guessed:
        return spec
    for kind in KINDS:
        answer = kind.answers(spec.url, {**spec.options, **options}) if kind.answers is not None else "other"
        by_port = _port_of(without_credentials(spec.url).rstrip("/")) in kind.ports
        if answer == "yes" or (answer == "no" and by_port):
            return replace(spec, kind=kind, guessed=False)
    return replace(spec, guessed=False)


def _allowed() -> str:
    examples = ["'auto'", *(example for kind in KINDS for example in kind.examples)]
    kinds = ", ".join(f"{kind.name} ({', '.join(kind.schemes)})" if kind.schemes else kind.name for kind in KINDS)
    return f"allowed: {', '.join(examples[:-1])}, or {examples[-1]}; kinds: {kinds}"


def _parsed_options(text: str, rest: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in rest.split(",") if pair.strip()]
    if "@" in rest or any(
        not equals or not name.strip() for name, equals, _ in pairs
    ):  # with @, a password may be in it
        raise ConfigError(
            [f"backend {cut(without_credentials(text))!r}: options are name=value, as in embedded:pace=0.05"]
        )
    return {name.strip(): _scalar(value.strip()) for name, _, value in pairs}


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# -- the config file --------------------------------------------------------------------------------------------------


def _from_file(path: Path) -> BackendSpec | None:
    table = _backend_table(path)
    url, urls = table.pop("url", None), table.pop("urls", None)
    if urls is not None:
        allowed = isinstance(urls, list) and urls and all(isinstance(each, str) and each.strip() for each in urls)
        if url is not None or not allowed:
            seen = shown(urls) if "@" not in str(urls) else "what holds a password"
            raise ConfigError([f"{path}: backend.urls: got {seen}; allowed: a list of addresses, and no url beside it"])
    elif url is None and table:
        raise ConfigError(
            [f'{path}: backend: got {", ".join(map(shown, table))} and no url; give url = "http://127.0.0.1:7860"']
        )
    elif url is None:
        return None
    elif not isinstance(url, str):
        came = url if isinstance(url, int | float) else type(url).__name__  # a list may hold an address with a password
        raise ConfigError([f"{path}: backend.url: got {came}, {_allowed()}"])
    user, password = table.pop("user", None), table.pop("password", None)
    if user is not None:
        table["auth"] = f"{user}:{password or ''}"
    return _of_several(urls or [url], f"from {path}", table)


def _backend_table(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            values = parse_toml(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (ValueError, UnicodeError) as error:
        raise ConfigError([f"{path}: not well-formed TOML: {cut(str(error))}"]) from None  # it may hold the whole text
    if wrong := [name for name in values if name != "backend"]:
        raise ConfigError([f"{path}: {shown(name)}: unknown key; {suggestion(name, ('backend',))}" for name in wrong])
    table = values.get("backend", {})
    if not isinstance(table, dict):
        raise ConfigError([f"{path}: backend: a table such as [backend] with url = ... is expected"])
    return dict(table)


# -- servers on this machine ------------------------------------------------------------------------------------------


def _probe_local(ports: Sequence[int] | None) -> BackendSpec:
    """Return the first server that answers as one of its kind, all ports probed in parallel, else the embedded one."""
    places = [(kind, port) for kind in KINDS if kind.probe is not None for port in ports or kind.ports]
    found = ask_all(places, lambda place: _probe(*place))
    for (kind, port), answer in zip(places, found, strict=True):
        if answer == "yes":
            return BackendSpec(kind, "found running", url=f"http://127.0.0.1:{port}")
    for (kind, port), answer in zip(places, found, strict=True):
        if answer == "other":
            logger.warning("something answers at 127.0.0.1:{}, but {}", port, kind.unrecognised)
            break
    return BackendSpec(EMBEDDED, ", ".join(f"no {looked}" for looked in _looked_for(ports)))


def _probe(kind: BackendKind, port: int) -> Found:
    return "no" if kind.probe is None else kind.probe(port, _PROBE_S)


def _looked_for(ports: Sequence[int] | None) -> list[str]:
    looked = [(kind.title, ports or kind.ports) for kind in KINDS if kind.probe is not None]
    return [
        f"{title} answers on 127.0.0.1:{'-'.join(dict.fromkeys(map(str, (numbers[0], numbers[-1]))))}"
        for title, numbers in looked
    ]


# -- opening ----------------------------------------------------------------------------------------------------------


def open_spec(spec: BackendSpec, options: Mapping[str, Any]) -> Backend:
    """Open the backend of a spec, with further options of its constructor.

    Raises:
        ConfigError: an option that it does not have, or a URL that is no address.
    """
    if spec.members:
        members = ask_all(spec.members, lambda member: recognised(member, options))
        return spec.kind.load()(open_spec(member, options) for member in members)
    spec = recognised(spec, options)
    if spec.kind.needs:
        require(f"{spec.kind.title[:1].upper()}{spec.kind.title[1:]} ({spec.reason})", *spec.kind.needs)
    make = spec.kind.load()
    parameters = inspect.signature(make).parameters
    known = [name for name in parameters if name != "url"]
    given = {_full_name(name, known): value for name, value in {**spec.options, **options}.items()}
    _check_options(spec, known, given)
    _check_numbers(spec, parameters, given)
    from rxpipe.backends.base import check_slots  # noqa: PLC0415  # loaded with whatever backend it is

    try:
        backend = make(spec.url, **given) if spec.kind.schemes else make(**given)
        check_slots(backend)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError([f"backend {spec.kind.name} ({spec.reason}): {error}"]) from error
    return backend


def _check_numbers(spec: BackendSpec, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Refuse what is no number where the option is one; in an address any word can stand."""
    problems = [
        f"backend {spec.kind.name} ({spec.reason}): {name}: got {shown(value)}, should be a number"
        for name, value in given.items()
        if str(parameters[name].annotation).split(" ")[0] in {"float", "int"}
        and (isinstance(value, bool) or not isinstance(value, int | float))
        and not (value is None and "None" in str(parameters[name].annotation))
    ]
    if problems:
        raise ConfigError(problems)


def _full_name(name: str, known: Sequence[str]) -> str:
    """Return the option's name with its unit, which may be left out: pace for pace_s."""
    return f"{name}_s" if name not in known and f"{name}_s" in known else name


def _check_options(spec: BackendSpec, known: Sequence[str], given: Mapping[str, Any]) -> None:
    problems = [
        f"backend {spec.kind.name} ({spec.reason}): no option {cut(without_credentials(name))!r}; "
        f"{suggestion(name, known)}"
        for name in given
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)

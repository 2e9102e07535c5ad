"""Which backend: the one named, else by environment, config file, a WebUI that runs, else the embedded one.

Loads neither HTTP nor numpy before a backend is really opened; ports are tried with the standard library.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import os
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs
from loguru import logger

from rxpipe.backends.http.address import without_credentials
from rxpipe.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.backends.base import Backend

BACKEND_VARIABLE = "RXPIPE_BACKEND"
"""Environment variable that names the backend, in any form that `open_backend` takes."""

CONFIG_VARIABLE = "RXPIPE_CONFIG"
"""Environment variable that names the config file, for who wants it elsewhere."""

PORTS = tuple(range(7860, 7865))  # a second copy or a leftover process moves a WebUI on by one
_PROBE_S = 0.5
_EMBEDDED = ("sketch", "embedded")
_AUTO = ("", "auto")
_ADDRESS = re.compile(r"(https?://.+|\[?[\w.:-]+\]?:\d+(/.*)?|:?\d{2,5}|localhost(/.*)?|[\w-]+(\.[\w-]+)+(/.*)?)")
_ALLOWED = "allowed: 'auto', 'sketch', 'sketch:pace=0.05', or a WebUI's address such as http://127.0.0.1:7860"
_UNAUTHORIZED, _OK = 401, 200


def open_backend(where: str | int | None = None, **options: Any) -> Backend:
    """A backend to draw on.

    Args:
        where: "http://host:port" (or "host:port", or a port on this machine) for a WebUI, with "user:password@" where
            it wants that; "sketch" or "embedded" for the one that needs no server, "sketch:name=value,..." with
            options; None or "auto": RXPIPE_BACKEND, else `backend.url` in the config file, else a WebUI that answers on
            127.0.0.1:7860 to 7864, else the embedded one.
        options: of that backend's constructor.

    Which one it took, and why, is in `backend.description` and in one line of the log.

    Raises:
        ConfigError: *where*, an option or the config file is not what is allowed; says what is.
    """
    spec = _choose(str(where) if isinstance(where, int) else where)
    backend = _opened(spec, options)
    backend.description = f"{backend.description} ({spec.reason})"
    logger.bind(backend=backend.name).info("backend: {}", backend.description)
    return backend


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """What was decided. options: from where it was named, credentials among them. reason: for people."""

    kind: Literal["webui", "sketch"]
    reason: str
    url: str = field(default="", repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def choose(where: str | None = None) -> BackendSpec:
    """What `open_backend(where)` would open, without opening it. Raises ConfigError as it does."""
    return _choose(where)


def config_path() -> Path:
    """Where the user's config file is, whether it exists or not."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_config_dir("rxpipe", appauthor=False)) / "config.toml"


def _choose(where: str | None) -> BackendSpec:
    if where is not None and where.strip() not in _AUTO:
        return _from_text(where.strip(), "as asked for")
    from_environment = os.environ.get(BACKEND_VARIABLE, "").strip()
    if from_environment not in _AUTO:
        return _from_text(from_environment, f"from {BACKEND_VARIABLE}")
    return _from_file(config_path()) or _probe_local()


def _from_text(text: str, reason: str, options: Mapping[str, Any] | None = None) -> BackendSpec:
    name, _, rest = text.partition(":")
    if name.lower() in _EMBEDDED:
        return BackendSpec("sketch", reason, options={**_parsed_options(text, rest), **(options or {})})
    shown = without_credentials(text)
    if not _ADDRESS.fullmatch(shown):
        nearest = difflib.get_close_matches(name.lower(), (*_EMBEDDED, "auto"), n=1, cutoff=0.6)
        did_you_mean = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ConfigError([f"backend {shown!r} ({reason}): {did_you_mean}{_ALLOWED}"])
    return BackendSpec("webui", reason, url=_completed(text), options=options or {})


def _completed(text: str) -> str:
    """A bare port is on this machine, a bare host has a WebUI's usual port."""
    if text.lstrip(":").isdigit():
        return f"http://127.0.0.1:{text.lstrip(':')}"
    if "://" in text:
        return text
    host, slash, path = text.partition("/")
    port = "" if re.search(r":\d+$", host) else ":7860"
    return f"http://{host}{port}{slash}{path}"


def _parsed_options(text: str, rest: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in rest.split(",") if pair.strip()]
    if any(not equals or not name.strip() for name, equals, _ in pairs):
        raise ConfigError([f"backend {text!r}: options are name=value, as in sketch:pace=0.05"])
    return {name.strip(): _scalar(value.strip()) for name, _, value in pairs}


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


# -- the config file --------------------------------------------------------------------------------------------------


def _from_file(path: Path) -> BackendSpec | None:
    table = _backend_table(path)
    url = table.pop("url", None)
    if url is None:
        return None
    if not isinstance(url, str):
        raise ConfigError([f"{path}: backend.url: got {url!r}, {_ALLOWED}"])
    user, password = table.pop("user", None), table.pop("password", None)
    if user is not None:
        table["auth"] = f"{user}:{password or ''}"
    return _from_text(url, f"from {path}", table)


def _backend_table(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (ValueError, UnicodeError) as error:
        raise ConfigError([f"{path}: not well-formed TOML: {error}"]) from error
    table = values.get("backend", {})
    if not isinstance(table, dict):
        raise ConfigError([f"{path}: backend: a table such as [backend] with url = ... is expected"])
    return dict(table)


# -- what runs here ---------------------------------------------------------------------------------------------------


def _probe_local(ports: Sequence[int] = PORTS) -> BackendSpec:
    """The first port that a WebUI with an API answers on, all tried at once; the embedded backend where none does."""
    with ThreadPoolExecutor(len(ports), thread_name_prefix="rxpipe-probe") as pool:
        found = dict(zip(ports, pool.map(_probe, ports), strict=True))
    for port, answer in found.items():
        if answer == "webui":
            return BackendSpec("webui", "found running", url=f"http://127.0.0.1:{port}")
    without = [port for port, answer in found.items() if answer == "other"]
    if without:
        address = f"127.0.0.1:{without[0]}"
        logger.warning("something answers at {}, but not as a WebUI with its API: start it with --api", address)
    return BackendSpec("sketch", f"no WebUI with its API answers on 127.0.0.1:{ports[0]}-{ports[-1]}")


def _probe(port: int) -> Literal["webui", "other", "nobody"]:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PROBE_S)
    try:
        connection.request("GET", "/sdapi/v1/progress?skip_current_image=true")
        response = connection.getresponse()
        body = response.read(4096)
    except (OSError, HTTPException):
        return "nobody"
    finally:
        connection.close()
    known = response.status == _UNAUTHORIZED or (response.status == _OK and b'"progress"' in body)
    return "webui" if known else "other"


# -- opening ----------------------------------------------------------------------------------------------------------


def _opened(spec: BackendSpec, options: Mapping[str, Any]) -> Backend:
    module, name = {
        "webui": ("rxpipe.backends.webui.backend", "WebUIBackend"),
        "sketch": ("rxpipe.backends.sketch", "SketchBackend"),
    }[spec.kind]
    make = getattr(importlib.import_module(module), name)
    known = [name for name in inspect.signature(make).parameters if name != "url"]
    given = {_full_name(name, known): value for name, value in {**spec.options, **options}.items()}
    _check_options(spec, known, given)
    backend: Backend = make(spec.url, **given) if spec.kind == "webui" else make(**given)
    return backend


def _full_name(name: str, known: Sequence[str]) -> str:
    """The option's name with its unit, which may be left out: pace for pace_s."""
    return f"{name}_s" if name not in known and f"{name}_s" in known else name


def _check_options(spec: BackendSpec, known: Sequence[str], given: Mapping[str, Any]) -> None:
    problems = []
    for name in given:
        if name not in known:
            hint = suggestion(name, known)
            problems.append(f"backend {spec.kind} ({spec.reason}): no option {name!r}; {hint}")
    if problems:
        raise ConfigError(problems)

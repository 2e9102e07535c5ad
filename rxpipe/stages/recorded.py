"""What the lineage records of a stage: the settings that it rendered with, as plain JSON values of bounded size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.config import CustomConfig, UpscaleConfig

if TYPE_CHECKING:
    from rxpipe.plan import StageExecution

_LONGEST = 4096  # bytes; the masks and control pictures of scripts are megabytes, and a file has no use for them
_UNCHECKED = ("payload", "override_settings", "alwayson_scripts", "graph", "values")


def recorded_settings(execution: StageExecution) -> dict[str, object]:
    """Return the settings of a stage for its lineage entry.

    A resize has no prompt and no sampler, whatever the stages before it have. A value over 4 kB among those that go to
    a server as they stand is recorded as its digest.
    """
    config = execution.config
    if isinstance(config, CustomConfig):
        return dict(config.settings)
    given = {name: _plain(value) for name, value in execution.payload.items()}
    given |= {name: shortened(given[name]) for name in _UNCHECKED if name in given}
    if not isinstance(config, UpscaleConfig):
        return {**execution.generation.model_dump(exclude_none=True), **given}
    size = {} if config.width or config.height else {"scale": config.scale}
    drawn = execution.generation.model_dump(exclude_none=True) if config.mode == "img2img" else {}
    return {**drawn, **size, **given}


def shortened(value: object) -> object:
    """Return a JSON value in which whatever is longer than 4 kB, and no part of it is, is its digest."""
    if isinstance(value, Mapping):
        value = {name: shortened(item) for name, item in value.items()}
    elif isinstance(value, list):
        value = [shortened(item) for item in value]
    text = (value if isinstance(value, str) else json.dumps(value)).encode(errors="surrogatepass")
    return f"sha256:{hashlib.sha256(text).hexdigest()} ({len(text)} bytes)" if len(text) > _LONGEST else value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value

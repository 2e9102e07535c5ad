"""The state that the window keeps between sessions: geometry, theme, backend, form."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rxpipe.backends.http.address import without_credentials
from rxpipe.logs import logger
from rxpipe.views.gui.form_values import FormValues, first_values

if TYPE_CHECKING:
    from pathlib import Path


class WindowState(BaseModel):
    """The state of the window. geometry: Tk's "1200x700+40+40"; "" for the window manager's choice."""

    model_config = ConfigDict(frozen=True)
    geometry: str = Field(default="", pattern=r"^(\d+x\d+[+-]-?\d+[+-]-?\d+)?$")
    dark: bool = True
    backend: str = Field(default="auto", repr=False)
    form: FormValues = Field(default_factory=first_values)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the saved state; the defaults if there is none or it cannot be read."""
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls()
        except OSError as error:
            reason = error.strerror
        except ValidationError as error:
            reason = f"{error.error_count()} wrong values"  # which may hold anything, a password too
        except (ValueError, RecursionError):
            reason = "no JSON"
        logger.warning("{}: cannot be used, the window starts with its defaults: {}", path, reason)
        return cls()

    def save(self, path: Path) -> None:
        """Save the state. The window works without it, so a failure is only logged."""
        kept = self.model_copy(update={"backend": without_credentials(self.backend)})  # no password in this file
        text = json.dumps(kept.model_dump(mode="json"), indent=1)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            logger.warning("{}: cannot be written: {}", path, error)


def default_state_path() -> Path:
    """Return where the window's state is saved: `~/.local/state/rxpipe/gui.json` on Linux."""
    return platformdirs.user_state_path("rxpipe", appauthor=False) / "gui.json"

"""Presets by name: one file each in a folder of the user's, and the list at the top of the window that offers them."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import TYPE_CHECKING

import platformdirs
import yaml

from rxpipe.errors import ConfigError, RxPipeError
from rxpipe.presets import dump
from rxpipe.shown import cut
from rxpipe.views.gui.fields import ChoiceField
from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rxpipe.config import PipelineConfig
    from rxpipe.views.gui.theme import Theme

_FORBIDDEN = '<>:"/\\|?*'
_LONGEST = 80


class PresetShelf:
    """The presets in a folder, each a YAML file with its name.

    Args:
        folder: made with the first preset.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> tuple[str, ...]:
        """Return the names in alphabetical order; none where the folder is missing or cannot be read."""
        try:
            return tuple(sorted((path.stem for path in self.folder.glob("*.yaml")), key=str.casefold))
        except OSError:
            return ()

    def path(self, name: str) -> Path:
        """Return the file of a preset.

        Raises:
            ConfigError: a name that no file can have.
        """
        name = name.strip()
        if not name or len(name) > _LONGEST or name.startswith(".") or not name.isprintable():
            raise ConfigError(
                [f"preset name {cut(name)!r}: allowed are 1 to {_LONGEST} printable characters, no dot first"]
            )
        if wrong := sorted(set(name) & set(_FORBIDDEN)):
            raise ConfigError(
                [f"preset name {cut(name)!r}: no file can have {' '.join(wrong)} in its name; leave it out"]
            )
        return self.folder / f"{name}.yaml"

    def save(self, name: str, config: PipelineConfig) -> Path:
        """Write a config under that name, in place of what has it; return the file.

        Raises:
            RxPipeError: the name or the folder does not allow it.
        """
        path = self.path(name)
        text = yaml.safe_dump(dump(config), sort_keys=False, allow_unicode=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.tmp")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        except (OSError, UnicodeError) as error:
            raise RxPipeError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}.") from error
        return path

    def rename(self, before: str, after: str) -> None:
        """Give a preset another name.

        Raises:
            RxPipeError: another one has that name already, or the file system does not allow it.
        """
        source, target = self.path(before), self.path(after)
        if target.exists() and not (source.exists() and target.samefile(source)):
            raise RxPipeError(f"there is a preset {after!r} already.", hint="Choose another name, or delete it first.")
        try:
            source.rename(target)
        except OSError as error:
            raise RxPipeError(f"{source}: cannot be renamed: {error.strerror}.") from error

    def delete(self, name: str) -> None:
        """Delete a preset; one that is gone already is no error.

        Raises:
            RxPipeError: the file system does not allow it.
        """
        path = self.path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RxPipeError(f"{path}: cannot be deleted: {error.strerror}.") from error


def default_shelf() -> PresetShelf:
    """Return the user's presets: `~/.local/share/rxpipe/presets` on Linux."""
    return PresetShelf(platformdirs.user_data_path("rxpipe", appauthor=False) / "presets")


class PresetPicker(ttk.Frame):
    """The list of presets, and a menu for what can be done with them.

    Args:
        chosen: called with the name of a preset that was chosen.
        actions: what is in the menu, by name; None for a line between two of them.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        shelf: PresetShelf,
        *,
        chosen: Callable[[str], object],
        actions: dict[str, Callable[[], object] | None],
    ) -> None:
        super().__init__(master)
        self._shelf = shelf
        self.names = ChoiceField(self, shelf.names(), default=False, width=13, style="Top.TCombobox")
        self.names.configure(state="readonly")
        self.names.pack(side="left")
        self.names.bind("<Button-1>", lambda _event: self.refresh(), add="+")
        self.names.bind("<Down>", lambda _event: self.refresh(), add="+")
        self.names.bind("<<ComboboxSelected>>", lambda _event: chosen(self.names.get()), add="+")
        self.menu = tk.Menu(self, tearoff=False)
        for name, action in actions.items():
            if action is None:
                self.menu.add_separator()
            else:
                self.menu.add_command(label=name, command=action)
        self.button = ttk.Button(self, text="⋯", style="Ghost.TButton", command=self._open)
        self.button.pack(side="left", padx=(theme.px(2), 0))
        Tooltip(self.names, "Your presets: choosing one fills the form")
        Tooltip(self.button, "Save, rename or delete presets")

    @property
    def current(self) -> str:
        """The preset that was chosen or saved last, "" for none."""
        return self.names.get()

    def refresh(self, current: str | None = None) -> None:
        """Read the folder again; show *current* as chosen, if it is given."""
        self.names.offer(self._shelf.names())
        if current is not None:
            self.names.write(current)

    def _open(self) -> None:
        self.menu.tk_popup(self.button.winfo_rootx(), self.button.winfo_rooty() + self.button.winfo_height())

"""What the window does with files: presets and pictures into the form, the form into presets, folders, masks, drops."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from tkinter import filedialog
from typing import TYPE_CHECKING, Protocol

import yaml

from rxpipe.errors import RxPipeError
from rxpipe.pictures.metadata import read_info
from rxpipe.pictures.opening import upright
from rxpipe.presets import dump, read_job
from rxpipe.views.gui.dialogs import Question, TextQuestion
from rxpipe.views.gui.file_manager import reveal
from rxpipe.views.gui.form_values import config_of, form_of
from rxpipe.views.gui.handing import clipboard_paths, clipboard_picture, sorted_out
from rxpipe.views.gui.mask import MaskWindow
from rxpipe.views.gui.shelf import PresetPicker
from rxpipe.views.gui.viewer import parameters_of

if TYPE_CHECKING:
    import tkinter as tk
    from collections.abc import Callable, Sequence
    from tkinter import ttk

    from PIL import Image

    from rxpipe.config import PipelineConfig
    from rxpipe.presets import Job
    from rxpipe.views.gui.form import Form
    from rxpipe.views.gui.form_values import FormValues
    from rxpipe.views.gui.gallery import GalleryItem
    from rxpipe.views.gui.shelf import PresetShelf
    from rxpipe.views.gui.theme import Theme

_LOADABLE = [
    ("Presets and pictures", "*.toml *.yaml *.yml *.json *.png *.jpg *.jpeg *.webp *.avif"),
    ("All files", "*"),
]


class _Say(Protocol):
    def __call__(self, text: str, *, bad: bool = False) -> None: ...


class Files:
    """The form's way to and from files.

    presets: the list that shows the shelf; set once there is one.

    Args:
        say: shows a message.
        folder: for masks that are painted and pictures that are pasted.
        escaped: called when Escape has closed a window.
    """

    presets: PresetPicker

    def __init__(
        self,
        root: tk.Tk,
        theme: Theme,
        *,
        say: _Say,
        shelf: PresetShelf,
        folder: Path,
        escaped: Callable[[], object],
    ) -> None:
        self._root, self._theme, self._say = root, theme, say
        self._shelf, self._folder, self._escaped = shelf, folder, escaped
        self.form: Form

    def make_picker(self, master: ttk.Frame) -> PresetPicker:
        """Make the list of presets, with what can be done to them."""
        self.presets = PresetPicker(
            master,
            self._theme,
            self._shelf,
            chosen=self.load_preset,
            actions={
                "Save": self.save_preset,
                "Save as…": self.save_preset_as,
                "Rename…": self.rename_preset,
                "Delete…": self.delete_preset,
                "": None,
                "Load a file…": self.load,
                "Save as a file…": self.save,
            },
        )
        return self.presets

    def read_config(self) -> PipelineConfig | None:
        """Return the config of the form; show the error and return None if it is invalid."""
        self.form.mark(())
        try:
            return config_of(self.form.read())
        except RxPipeError as error:
            self.form.mark(getattr(error, "problems", ()))
            self._fail(error)
            return None

    # -- presets and pictures -----------------------------------------------------------------------------------------

    def load(self, path: Path | None = None) -> None:
        """Fill the form from a preset or a picture; opens a file dialog if none is given."""
        if path is None:
            chosen = filedialog.askopenfilename(parent=self._root, title="Preset or picture", filetypes=_LOADABLE)
            if not chosen:
                return
            path = Path(chosen)
        try:
            job = read_job(path)
            values = form_of(job.config(trust=False))  # a window has no place that shows what else would be sent
        except RxPipeError as error:
            self._fail(error)
            return
        if job.kind == "picture":
            values = _with_folder(values, self.form.fields["out"].read())
        self.form.write(values)
        self._say(_loaded(job))

    def save(self, path: Path | None = None) -> None:
        """Write the form as a preset; opens a file dialog if no path is given."""
        config = self.read_config()
        if config is None:
            return
        if path is None:
            chosen = filedialog.asksaveasfilename(
                parent=self._root, title="Save preset", defaultextension=".yaml", filetypes=[("Preset", "*.yaml")]
            )
            if not chosen:
                return
            path = Path(chosen)
        try:
            path.write_text(yaml.safe_dump(dump(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
        except (OSError, UnicodeError) as error:
            self._say(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}", bad=True)
        else:
            self._say(f"Saved {path.name}")

    def load_preset(self, name: str) -> None:
        """Fill the form from a preset of the shelf."""
        try:
            self.load(self._shelf.path(name))
        except RxPipeError as error:
            self._fail(error)

    def save_preset(self, name: str = "") -> None:
        """Write the form as the preset of that name, or as the one that is chosen; asks for a name without one."""
        name = name or self.presets.current
        if not name:
            self.save_preset_as()
            return
        config = self.read_config()
        if config is None:
            return
        try:
            self._shelf.save(name, config)
        except RxPipeError as error:
            self._fail(error)
            return
        self.presets.refresh(name)
        self._say(f"Saved the preset {name}")

    def save_preset_as(self) -> None:
        """Ask for a name and write the form as that preset; before one is replaced, ask once more."""
        text = "Save these settings as a preset named:"
        TextQuestion(
            self._root, self._theme, text, value=self.presets.current, yes="Save", given=self._save_unless_taken
        )

    def rename_preset(self) -> None:
        """Ask for another name of the preset that is chosen."""
        name = self.presets.current
        if not name:
            self._say("Choose a preset first.")
            return
        text = f"New name of the preset {name}:"
        TextQuestion(self._root, self._theme, text, value=name, yes="Rename", given=partial(self._rename, name))

    def delete_preset(self) -> None:
        """Delete the preset that is chosen, after a question."""
        name = self.presets.current
        if not name:
            self._say("Choose a preset first.")
            return
        text = f"Delete the preset {name}? The form keeps its settings."
        Question(
            self._root, self._theme, text, yes="Delete", no="Keep", agreed=partial(self._delete, name),
            escaped=self._escaped,
        )  # fmt: skip

    def _save_unless_taken(self, name: str) -> None:
        if name.strip() not in self._shelf.names():
            self.save_preset(name.strip())
            return
        text = f"There is a preset {name} already. Its settings would be replaced."
        Question(
            self._root, self._theme, text, yes="Replace", no="Keep it", agreed=partial(self.save_preset, name.strip()),
            escaped=self._escaped,
        )  # fmt: skip

    def _rename(self, before: str, after: str) -> None:
        try:
            self._shelf.rename(before, after)
        except RxPipeError as error:
            self._fail(error)
            return
        self.presets.refresh(after.strip())
        self._say(f"{before} is named {after} now")

    def _delete(self, name: str) -> None:
        try:
            self._shelf.delete(name)
        except RxPipeError as error:
            self._fail(error)
            return
        self.presets.refresh("")
        self._say(f"Deleted the preset {name}")

    # -- finished pictures --------------------------------------------------------------------------------------------

    def open_folder(self, picture: GalleryItem | None = None) -> None:
        """Show a picture's folder, or the one that pictures are saved to."""
        path = picture.path if picture is not None else Path(self.form.fields["out"].read() or "outputs").expanduser()
        try:
            reveal(path.absolute())
        except RxPipeError as error:
            self._fail(error)

    def copy_parameters(self, picture: GalleryItem) -> None:
        """Put a picture's A1111 text on the clipboard."""
        try:
            text = parameters_of(read_info(picture.path))
        except RxPipeError as error:
            self._fail(error)
            return
        self._root.clipboard_clear()
        self._root.clipboard_append(text)
        self._say("Copied the parameters")

    # -- pictures to start from ---------------------------------------------------------------------------------------

    def use_inputs(self, paths: Sequence[Path]) -> None:
        """Let the next run start from these pictures."""
        self.form.start_from([str(path) for path in paths])
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        self._say(f"The next run starts from {paths[0].name}{more}: img2img is on, txt2img is off.")

    def take(self, paths: Sequence[Path]) -> None:
        """Take what was dropped or pasted: pictures to start from, a preset into the form."""
        pictures, presets, others = sorted_out(paths)
        if pictures:
            self.use_inputs(pictures)
        elif presets:
            self.load(presets[0])
        elif others:
            self._say(
                f"{others[0].name} is neither a picture (png, jpg, webp, avif, gif, bmp) nor a preset (toml, yaml, "
                "json).",
                bad=True,
            )

    def paste(self) -> None:
        """Start from the picture on the clipboard, or take the files that are on it."""
        paths = clipboard_paths(self._root)
        if paths:
            self.take(paths)
            return
        try:
            pasted = clipboard_picture(self._root, self._folder / "pasted")
        except OSError as error:
            self._say(f"the pasted picture cannot be written: {error.strerror}", bad=True)
            return
        if pasted is not None:
            self.use_inputs([pasted])
        else:
            self._say("There is no picture and no file on the clipboard.")

    def paint_mask(self) -> MaskWindow | None:
        """Open the window that paints a mask over the start picture."""
        path = next(iter(self.form.start_pictures), None)
        if path is None:
            return None
        try:
            picture = upright(path)
            before = upright(Path(self.form.mask)) if self.form.mask and "{stem}" not in self.form.mask else None
        except RxPipeError as error:
            self._fail(error)
            return None
        return MaskWindow(
            self._root, self._theme, picture, before, done=partial(self._keep_mask, path), escaped=self._escaped
        )

    def _keep_mask(self, path: Path, mask: Image.Image | None) -> None:
        """Write a mask under a name that says what is in it, so that a run that is resumed finds the same one."""
        if mask is None:
            self.form.mask = ""
            self._say("No mask: img2img redraws the whole picture.")
            return
        name = f"{path.stem[:60]}-mask-{hashlib.sha256(mask.tobytes()).hexdigest()[:12]}.png"
        target = self._folder / "masks" / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            mask.save(target)
        except OSError as error:
            self._say(f"{target}: cannot be written: {error.strerror}", bad=True)
            return
        self.form.mask = str(target)
        self.form.cards["img2img"].on = True
        self._say(f"img2img redraws what is painted over {path.name}.")

    def _fail(self, error: RxPipeError) -> None:
        self._say(str(error), bad=True)


def _loaded(job: Job) -> str:
    """Return what to say of a file that fills the form: what it leaves out, and what it needs."""
    held = ", ".join(f"{stage}.{name}" for stage, settings in job.held.items() for name in settings)
    parts = [f"Loaded {job.path.name}", f"without its {held}" if held else ""]
    parts.append(f"not carried over: {', '.join(job.left)}" if job.left else "")
    parts.append(f"it was drawn over {job.source}: choose the picture to start from" if job.source else "")
    parts.append("it names no prompt" if job.no_prompt else "")
    return ", ".join(part for part in parts if part)


def _with_folder(values: FormValues, out: str) -> FormValues:
    """Return *values* with the folder *out*, since a picture does not say where the next one is saved."""
    return replace(values, out=out or values.out)

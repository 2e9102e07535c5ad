"""Write pictures to files: A1111's folders, numbers and texts; whole or not at all, and never over another file.

A stage calls the writer, so that the event about a picture follows its file. A picture is written under a temporary
name, synced, and given its final name in one step that refuses a name in use.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import os
import re
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.config import UpscaleConfig
from rxpipe.pictures import a1111, png
from rxpipe.pictures.encoding import encoded
from rxpipe.pictures.formats import file_ending
from rxpipe.pictures.lineage import LINEAGE_KEY, format_lineage
from rxpipe.pictures.texts_in import insert_exif
from rxpipe.plan import StageType
from rxpipe.sinks.files import Files, SystemFiles, sync, write_all
from rxpipe.sinks.folder import folder_of, save_error
from rxpipe.sinks.names import NamePattern

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from rxpipe.artifact import Artifact
    from rxpipe.config import Embed, ImageFormat
    from rxpipe.plan import StageExecution

__all__ = ["ImageWriter"]

_FOLDERS = {StageType.TXT2IMG.value: "txt2img-images", StageType.UPSCALE.value: "extras-images"}
_DRAWING = (StageType.TXT2IMG.value, StageType.IMG2IMG.value)
_OTHER_FOLDER = "img2img-images"
_NUMBERED = re.compile(r"(\d{5,18})(?:[-.].*)?")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_ABANDONED_S = 3600  # age of a temporary file that no running program writes any more
_HELD = (5, 32, 33)  # Windows: access denied, sharing violation, lock violation: a viewer or scanner looks at the file
_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_LINKS = {
    errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EACCES, errno.EXDEV, errno.EINVAL
}  # fmt: skip


class ImageWriter:
    """Writes pictures below one folder, as A1111 would: `OUT/txt2img-images/2026-11-23/00042-1234567.png`.

    img2img, adetailer and custom stages write to `img2img-images`, upscale to `extras-images`. The number in front is
    one more than the greatest in the folder, looked up once and then counted on. May be used from several threads, and
    from several processes on one folder.

    Args:
        out: made if it is not there; a relative one is below the working directory at construction.
        pattern: of the name behind the number; see `NamePattern`. Without a seed the default leaves the number alone.
        format, quality: of the files; a PNG becomes the other format, what is none is kept as it is.
        embed: which texts are written into them: all, "parameters" (A1111's), or "none".
        pause: waits so many seconds before a file that another program holds is tried again (Windows).
        files: the calls to the file system, for tests with faults; None: the real ones.
        owner: of the pictures, such as a run's id, whose journal says which are finished: the last one written keeps
            its temporary name too, until the next one or `release()`, so that `delete_unfinished` knows it.
    """

    def __init__(
        self,
        out: Path | str = Path("outputs"),
        *,
        pattern: str = "[seed]",
        format: ImageFormat = "png",  # noqa: A002  # what everybody calls it
        quality: int = 90,
        embed: Embed = "all",
        pause: Callable[[float], object] = time.sleep,
        files: Files | None = None,
        owner: str = "",
    ) -> None:
        self.out = folder_of(out)
        self._pattern = NamePattern(pattern)
        self._format, self._quality, self._embed = format, quality, embed
        self._pause = pause
        self._files = files or SystemFiles()
        self._mark = hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:16] if owner else ""
        self._kept: Path | None = None
        self._next: dict[Path, int] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folder and write to it, so that one that takes no file is an error before anything is rendered.

        Raises:
            SaveError: it cannot be made or written to.
        """
        trial = self._temporary(self.out)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            os.close(self._files.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            self._files.unlink(trial)
            for name in {*_FOLDERS.values(), _OTHER_FOLDER}:
                if (self.out / name).exists() and not os.access(self.out / name, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.out / name))
        except OSError as error:
            raise save_error(error, self.out) from error

    def write(self, artifact: Artifact, execution: StageExecution, now: datetime, *, synced: bool = True) -> Artifact:
        """Write the picture to a file; return the artifact that refers to it.

        It gets the text `parameters`, unless the backend has written one, and rxpipe's lineage, as far as `embed` says;
        a PNG in its texts, a JPEG or WebP in its EXIF. Pixels are not touched unless the format changes.

        Args:
            now: its date, in its own time zone, names the folder.
            synced: whether it is on the disk when this returns; else a machine that loses its power may lose it.

        Raises:
            BadImage: there is no picture, or its bytes are no known format.
            SaveError: it could not be written; nothing is left under any name.
        """
        self.release()
        data = artifact.read()
        file_ending(data)
        texts = _texts(data, artifact, execution, self._embed)
        made = encoded(data, self._format, self._quality)
        data, ending = _with_texts(made, data, texts, self._embed), file_ending(made)
        name = self._pattern.fill(artifact, execution, now)
        folder = self.out / _FOLDERS.get(execution.stage_type, _OTHER_FOLDER) / f"{now:%Y-%m-%d}"
        try:
            return artifact.with_path(self._save(data, folder, (f"-{name}" if name else "") + ending, synced=synced))
        except OSError as error:
            raise save_error(error, folder) from error

    def release(self) -> None:
        """Remove the temporary name of the last picture written."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with contextlib.suppress(OSError):
                self._remove(kept)

    def delete_unfinished(self, finished: Collection[Path]) -> None:
        """Delete what a killed process of the same owner left: temporary files, and pictures that it did not record.

        Args:
            finished: the pictures that were recorded.
        """
        for folder in (self.out, *self.out.glob("*/*")):
            entries = list(os.scandir(folder)) if folder.is_dir() else []
            left = [entry for entry in entries if _TEMPORARY.fullmatch(entry.name) and entry.name[1:17] == self._mark]
            unfinished = {entry.inode() for entry in left}
            for entry in [*(each for each in entries if each not in left), *left]:
                if entry.inode() in unfinished and Path(entry.path) not in finished:
                    with contextlib.suppress(OSError):
                        self._remove(Path(entry.path))

    def sync(self, path: Path) -> None:
        """Wait until a picture is on the disk; where that fails it is written all the same."""
        with contextlib.suppress(OSError):
            descriptor = self._files.open(path, os.O_RDWR)
            try:
                sync(self._files, descriptor)
            finally:
                os.close(descriptor)

    def _save(self, data: bytes, folder: Path, tail: str, *, synced: bool) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(folder)
        try:
            _write(self._files, temporary, data, synced=synced)
            target = self._publish(temporary, folder, tail)
        except BaseException:
            self._remove(temporary)
            raise
        if self._mark:
            self._kept = temporary
        else:
            self._remove(temporary)
        return target

    def _temporary(self, folder: Path) -> Path:
        return folder / f".{self._mark}{uuid.uuid4().hex[len(self._mark) :]}.tmp"

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._patiently(functools.partial(self._files.unlink, path))

    def _publish(self, temporary: Path, folder: Path, tail: str) -> Path:
        """Give the file the next free name; another process may take one in between, then the next is tried."""
        while True:
            target = folder / f"{self._number(folder):05}{tail}"
            try:
                self._patiently(functools.partial(_move_to_new, self._files, temporary, target))
            except FileExistsError:
                with self._lock:  # another process writes here: look again, and never back
                    self._next[folder] = max(self._next[folder], _first_free(self._files, folder))
            else:
                return target

    def _number(self, folder: Path) -> int:
        with self._lock:
            number = self._next.get(folder)
            if number is None:
                number = _first_free(self._files, folder)
            self._next[folder] = number + 1
            return number

    def _patiently(self, action: Callable[[], None]) -> None:
        """Try again for a moment where another program holds the file."""
        for pause_s in _PAUSES_S:
            try:
                return action()
            except PermissionError as error:
                if getattr(error, "winerror", None) not in _HELD:
                    raise
            self._pause(pause_s)
        return action()


# -- files --------------------------------------------------------------------------------------------------------


def _first_free(files: Files, folder: Path) -> int:
    """Return the next number, and delete what killed runs have left, by its name and age."""
    greatest = -1
    oldest = time.time() - _ABANDONED_S
    for name in files.names(folder):
        if number := _NUMBERED.fullmatch(name):
            greatest = max(greatest, int(number[1]))
        elif _TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):  # another run was faster
                if (folder / name).lstat().st_mtime < oldest:
                    files.unlink(folder / name)
    return greatest + 1


def _write(files: Files, path: Path, data: bytes, *, synced: bool) -> None:
    descriptor = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(files, descriptor, data)
        if synced:
            sync(files, descriptor)
    finally:
        os.close(descriptor)


def _move_to_new(files: Files, temporary: Path, target: Path) -> None:
    """Give *temporary* the name *target* in one step. FileExistsError where that name is in use."""
    if not files.rename_replaces:
        files.rename(temporary, target)
        return
    try:
        files.link(temporary, target)  # unlike a POSIX rename, never replaces
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _move_by_reservation(files, temporary, target)


def _move_by_reservation(files: Files, temporary: Path, target: Path) -> None:
    """For file systems without links: reserve the name by a hidden file of our own, so that a kill leaves no other."""
    reservation = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.tmp")
    os.close(files.open(reservation, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        files.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            files.unlink(reservation)


# -- texts --------------------------------------------------------------------------------------------------------


def _texts(data: bytes, artifact: Artifact, execution: StageExecution, embed: Embed) -> dict[str, str]:
    """Return the texts of a picture by their keys, A1111's first; *data*: as it was rendered."""
    texts = {}
    if embed != "none" and (text := a1111.parameters_text(_facts(artifact, execution, png.pixel_size(data)))):
        texts["parameters"] = text
    if embed == "all":
        texts[LINEAGE_KEY] = format_lineage(artifact, stage=execution.stage_type, version=_version())
    return texts


def _with_texts(data: bytes, rendered: bytes, texts: dict[str, str], embed: Embed) -> bytes:
    """Return a picture in any format with the texts in it; what a server wrote into *rendered* precedes ours."""
    is_png = data.startswith(_PNG)
    if is_png and embed == "all":
        return png.insert_text(data, texts, compressed=(LINEAGE_KEY,), keep=("parameters",))
    own = png.read_text(rendered).get("parameters") if rendered.startswith(_PNG) and embed != "none" else None
    texts = {**texts, **({"parameters": own} if own else {})}
    if is_png:
        kept = png.without_texts(data)
        return png.insert_text(kept, texts) if texts else kept
    return insert_exif(data, texts.get("parameters", ""), texts.get(LINEAGE_KEY, ""))


def _facts(artifact: Artifact, execution: StageExecution, size: png.PictureSize | None) -> a1111.StageFacts:
    """What A1111's text is made from; what the backend recorded as really used precedes what was asked for."""
    config, asked = execution.config, execution.generation.model_dump()
    last = artifact.lineage[-1] if artifact.lineage else None
    used = last.settings if last is not None and last.stage == execution.stage_type else {}
    generation = asked | {name: used.get(name) or asked[name] for name in a1111.SETTING_NAMES}
    section, seed = config.model_dump(), artifact.seed
    if isinstance(config, UpscaleConfig):
        section["upscaler"] = used.get("upscaler") or section["upscaler"]
        if config.mode == "single":
            generation = _drawn_with(artifact)
            seed = seed if generation else None
    return a1111.StageFacts(
        stage=config.section,
        generation=generation,
        section=section,
        seed=seed,
        size=None if size is None else (size.width, size.height),
        version=_version(),
    )


def _drawn_with(artifact: Artifact) -> dict[str, object]:
    """What the pixels were drawn with before a resize: the settings of the last stage that has a prompt."""
    drawn = (entry for entry in reversed(artifact.lineage) if entry.stage in _DRAWING)
    return next((dict(entry.settings) for entry in drawn), {})


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("rxpipe")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"

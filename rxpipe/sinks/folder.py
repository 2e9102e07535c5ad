"""The folder that pictures are saved in: whether it takes any, and what is wrong where it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rxpipe.errors import SaveError

__all__ = ["check_folder", "folder_of", "save_error"]


def folder_of(out: Path | str) -> Path:
    """Return the absolute path of a folder.

    Raises:
        SaveError: it is in a home folder that there is not, or no path at all.
    """
    try:
        folder = Path(out).expanduser().absolute()
    except RuntimeError as error:  # ~ of a user that there is not
        raise SaveError(f"{out}: there is no such home folder.", hint="Choose another folder with out=.") from error
    if "\0" in str(folder):
        raise SaveError(f"{str(out)!r}: a path cannot hold a null character.", hint="Choose another with out=.")
    return folder


def check_folder(out: Path | str) -> None:
    """Check that pictures can be saved in a folder, and make nothing; `ImageWriter.prepare` tries it.

    Raises:
        SaveError: a part of its path is a file, or it cannot be written to.
    """
    folder = folder_of(out)
    try:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
    except OSError as error:
        raise save_error(error, folder, "no picture can be saved there") from error


def save_error(error: OSError, folder: Path, what: str = "the picture could not be saved") -> SaveError:
    """Return the error of the file system with what to do about it; *what* did not happen."""
    hints = {
        errno.ENOSPC: "Free some space, or choose another folder with out=.",
        errno.EDQUOT: "Free some space, or choose another folder with out=.",
        errno.EFBIG: "Choose a folder on another file system with out=.",
        errno.EACCES: "Make the folder writable, or choose another with out=.",
        errno.EPERM: "Make the folder writable, or choose another with out=.",
        errno.EROFS: "The disk is read-only; choose another folder with out=.",
        errno.ENOENT: "Check that the path exists and, on Windows, is shorter than 260 characters.",
        errno.ENAMETOOLONG: "Choose a folder with a shorter path with out=.",
        errno.ENOTDIR: "A part of the path is a file; choose another folder with out=.",
        errno.EEXIST: "A part of the path is a file; choose another folder with out=.",
    }
    cause = error.strerror or str(error)
    where = folder if error.filename is None or str(error.filename).endswith(".tmp") else error.filename
    hint = hints.get(error.errno or 0, "Check the folder, or choose another with out=.")
    return SaveError(f"{where}: {what}: {cause}.", hint=hint)

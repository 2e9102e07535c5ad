"""Which pictures a folder, a pattern or a file stands for."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["pictures_at"]

_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jfif"})


def pictures_at(paths: Iterable[Path | str]) -> list[Path]:
    """Return the pictures: of a folder those in it, of a pattern with * or ? those that match, of a file itself.

    In the order given, each folder's and pattern's by name.

    Raises:
        BadImage: a folder holds no picture, or nothing matches a pattern.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if _is_picture(each))
            if not inside:
                raise BadImage(f"input {given}: there is no picture in the folder.", hint=f"Known: {_known()}.")
        elif set(str(path)) & set("*?") and not path.exists():
            inside = sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())  # noqa: PTH207  # Path.glob takes no absolute pattern
            if not inside:
                raise BadImage(f"input {given}: no file matches.", hint="Check the pattern, and put it in quotes.")
        else:
            inside = [path]
        found += inside
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()


def _known() -> str:
    return ", ".join(sorted(_ENDINGS))

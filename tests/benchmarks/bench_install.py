"""Print what an installation weighs: `python tests/benchmarks/bench_install.py [EXTRA ...]`, the base without a word.

Each has a fresh virtual environment of its own, made and removed here; counted is site-packages without pip and
setuptools, in MB of 1024 x 1024 bytes as they lie on the disk. The base is held against an aim.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from table import Row, at_most, show

AIM_MB = 110
REPOSITORY = Path(__file__).parents[2]
NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


def installed_mb(extra: str) -> float:
    """The size of site-packages after installing the package with *extra*, "" for none."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603  fixed words
        target = f"{REPOSITORY}[{extra}]" if extra else str(REPOSITORY)
        subprocess.run([python, "-m", "pip", "install", "-q", target], check=True)  # noqa: S603  our own package
        [packages] = Path(folder).glob("lib/python*/site-packages")
        return sum(_on_disk(path) for path in packages.iterdir() if not _is_other(path)) / 2**20


def _is_other(path: Path) -> bool:
    return path.name.split("-")[0] in NOT_OURS or path.name in NOT_OURS


def _on_disk(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)


def _row(extra: str) -> Row:
    size = installed_mb(extra)
    return Row(f"rxpipe[{extra}]", f"{size:.1f} MB") if extra else at_most("rxpipe", size, AIM_MB, " MB")


if __name__ == "__main__":
    sys.exit(show("site-packages of a fresh environment", (_row(extra) for extra in sys.argv[1:] or [""])))

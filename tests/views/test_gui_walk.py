"""Forty clicks and keys through the window, on three sizes of screen and in both themes: nothing moves or is cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WALK = Path(__file__).with_name("walk.py")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("size", "scale"), [("1366x768", 1.0), ("1920x1080", 1.0), ("3840x2160", 2.0)])
def test_a_walk_through_the_window(tmp_path, size, scale, theme):
    """Every button outside the form is in the same place after each step; RXPIPE_SHOTS names a folder for pictures."""
    folder = Path(os.environ.get("RXPIPE_SHOTS", tmp_path)) / f"{size}-{theme}"
    folder.mkdir(parents=True)
    words = [sys.executable, str(WALK), size, str(scale), theme, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)  # noqa: S603  our own words
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["steps"] >= 40
    assert (seen["moved"], seen["cut"]) == ({}, {})
    assert len(list(folder.glob("*.png"))) == seen["steps"]

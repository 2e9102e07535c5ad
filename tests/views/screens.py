"""An X screen of any size, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import subprocess


@contextlib.contextmanager
def screen(size):
    """Start an Xvfb of that size, such as "1920x1080", and make it the display."""
    read_end, write_end = os.pipe()
    words = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[write_end], stderr=subprocess.DEVNULL)  # noqa: S603  our own words
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
    try:
        yield
    finally:
        server.terminate()
        server.wait(10)

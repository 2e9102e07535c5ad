"""A hundred runs started and stopped in a window, on a backend that never answers: what is left behind.

Run it as `python tests/benchmarks/bench_controller.py`; it starts an Xvfb where DISPLAY is not set. Each toolkit has a
process of its own.
"""

# ruff: noqa: PLC0415  each process loads its own toolkit only

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
import tkinter as tk
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reactivex import Observable
from reactivex.disposable import Disposable
from table import Row, at_most, show

import rxpipe as rxp
from rxpipe.rx.mainloop import QtScheduler, TkScheduler

CYCLES = 100
FRAME_S, STOP_S = 0.05, 1.0


class Silent(rxp.Backend):
    """Never answers, but honours dispose."""

    name = "silent"

    def render(self, stage, source):
        """A drawing that does not come."""
        del stage, source
        return Observable(lambda _observer, _scheduler=None: Disposable())


def until(turn, what, limit_s=5.0):
    """Turn the window's loop until *what* holds; seconds it took."""
    begin = time.perf_counter()
    while not what():
        turn()
        if time.perf_counter() - begin > limit_s:
            raise TimeoutError("nothing came of it")
    return time.perf_counter() - begin


def cycle(controller, seen, turn):
    """One run started and stopped by its controller: seconds until "stopping" showed, and until it was over."""
    seen.clear()
    controller.start(rxp.chain(rxp.txt2img("a", images=3), out=None))
    until(turn, lambda: any(status.stage == "txt2img" for status in seen))
    controller.cancel()
    shown_s = until(turn, lambda: seen[-1].state in {"stopping", "cancelled"})
    return shown_s, shown_s + until(turn, lambda: seen[-1].state == "cancelled")


def rows_of(name, controller, turn):
    """What a hundred cycles took and left."""
    seen = []
    controller.status.subscribe(seen.append)
    cycle(controller, seen, turn)
    gc.collect()
    threads, objects = set(threading.enumerate()), len(gc.get_objects())
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [cycle(controller, seen, turn) for _ in range(CYCLES)]
    until(turn, lambda: not [t for t in set(threading.enumerate()) - threads if t.is_alive()])
    gc.collect()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    yield at_most(f"{name}: 'stopping' shown after, at the longest", max(t[0] for t in times), FRAME_S, " s")
    yield at_most(f"{name}: over after, at the longest", max(t[1] for t in times), STOP_S, " s")
    yield at_most(f"{name}: threads left", len(set(threading.enumerate()) - threads), 0)
    yield at_most(f"{name}: objects left per cycle", (len(gc.get_objects()) - objects) / CYCLES, 5)
    yield Row(f"{name}: memory grown", f"{grown_kb} kB")


def tk_window():
    """A Tk window with a status bar."""
    from rxpipe.views.tk import StatusBar

    root = tk.Tk()
    controller = rxp.PipelineController(rxp.PipelineRunner(Silent()), scheduler=TkScheduler(root))
    bar = StatusBar(root)
    bar.pack()
    bar.attach(controller)
    return controller, root.update


def qt_window():
    """A Qt window with a status bar."""
    from PySide6.QtWidgets import QApplication

    from rxpipe.views.qt import StatusBar

    app = QApplication([])
    controller = rxp.PipelineController(rxp.PipelineRunner(Silent()), scheduler=QtScheduler(app))
    bar = StatusBar()
    bar.show()
    bar.attach(controller)
    return controller, app.processEvents


def main(kit):
    """Measure one toolkit, or both, each in a process of its own."""
    if kit:
        controller, turn = tk_window() if kit == "tk" else qt_window()
        return show(f"{CYCLES} runs started and stopped in a {kit} window", rows_of(kit, controller, turn))
    command = [sys.executable, __file__]
    if not os.environ.get("DISPLAY"):
        command = ["xvfb-run", "-a", *command]
    plain = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    codes = []
    for each in ("tk", "qt"):
        quiet = subprocess.DEVNULL if each == "qt" else None  # its off-screen plugin complains at every layout
        codes.append(subprocess.run([*command, each], check=False, env=plain, stderr=quiet).returncode)  # noqa: S603  # fixed words
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))

"""How a GUI thread fares under a flood: rxpipe's schedulers beside RxPY's own, on real windows.

Run it as `python tests/benchmarks/bench_mainloop.py`; it starts an Xvfb where DISPLAY is not set, prints a table and
ends with 1 if a bound of rxpipe's own is broken. Each case has a process of its own, since some of the others hang.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import tkinter as tk
from datetime import UTC, datetime
from pathlib import Path
from tkinter import ttk

from PySide6 import QtCore
from PySide6.QtWidgets import QApplication, QLabel, QProgressBar, QVBoxLayout, QWidget
from reactivex import operators as ops
from reactivex.scheduler.mainloop import QtScheduler as StockQtScheduler
from reactivex.scheduler.mainloop import TkinterScheduler as StockTkScheduler

from rxpipe.events import StageImageProgress, StageStep, is_lifecycle
from rxpipe.rx.mainloop import QtScheduler, TkScheduler
from rxpipe.rx.operators import coalesce
from rxpipe.rx.subject import EventSubject

STEPS, LIFECYCLE = 10_000, 1_000
ROUNDS = 5  # floods per case, each begun when the last one is shown: one flood has too few beats for a percentile
BEAT_S = 0.010
P95_LAG_MS, MAX_LAG_MS, PRODUCER_RATIO = 35, 100, 1.2
GIVE_UP_S = 20.0

CASES = [(kit, way) for kit in ("tk", "qt") for way in ("rxpipe, coalesced", "rxpipe, every event", "RxPY")]


class TkWindow:
    """A Tk window with a label and a bar, and its loop."""

    def __init__(self):
        self.root = tk.Tk()
        self.label, self.bar = tk.Label(self.root, width=60), ttk.Progressbar(self.root, maximum=1.0)
        self.label.pack()
        self.bar.pack(fill="x")

    def scheduler(self, way):
        if way == "RxPY":
            return StockTkScheduler(self.root)
        return TkScheduler(self.root)

    def show(self, text, fraction):
        self.label.config(text=text)
        self.bar.config(value=fraction)

    def every(self, period_s, action):
        def beat():
            self.root.after(round(period_s * 1000), beat)
            action()

        self.root.after(round(period_s * 1000), beat)

    def run(self):
        self.root.mainloop()

    def stop(self):
        self.root.quit()


class QtWindow:
    """The same in Qt."""

    def __init__(self):
        self.app = QApplication([])
        self.window = QWidget()
        self.label, self.bar = QLabel(), QProgressBar()
        self.bar.setMaximum(1000)
        layout = QVBoxLayout(self.window)
        layout.addWidget(self.label)
        layout.addWidget(self.bar)
        self.window.show()
        self.timers = []

    def scheduler(self, way):
        if way == "RxPY":
            return StockQtScheduler(QtCore)
        return QtScheduler(self.app)

    def show(self, text, fraction):
        self.label.setText(text)
        self.bar.setValue(round(fraction * 1000))

    def every(self, period_s, action):
        timer = QtCore.QTimer()
        timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        timer.timeout.connect(action)
        timer.start(round(period_s * 1000))
        self.timers.append(timer)

    def run(self):
        self.app.exec()

    def stop(self):
        self.app.quit()


def event(index):
    """The flood: a picture done after every ten steps."""
    common = {
        "run_id": "r",
        "seq": index,
        "timestamp": datetime.now(UTC),
        "stage_type": "txt2img",
        "stage_index": 0,
        "total_images": LIFECYCLE,
        "image_index": index // 11 + 1,
    }
    if index % 11 == 10:
        return StageImageProgress(artifact_id=f"r-{index}", outcome="done", **common)
    return StageStep(fraction=index % 11 / 10, step=index % 11 + 1, steps=10, **common)


def deliver(way, scheduler):
    """The way of the events onto the GUI thread."""
    if way != "rxpipe, coalesced":
        return ops.observe_on(scheduler)
    thinned = coalesce(0.016, key=lambda e: (e.run_id, e.stage_index, e.kind), passes=is_lifecycle, scheduler=scheduler)
    return lambda source: source.pipe(thinned, ops.observe_on(scheduler))


def flood(kit, way):
    """Heartbeat lags in the GUI thread and what arrived, while a worker emits as fast as it can."""
    window = {"tk": TkWindow, "qt": QtWindow}[kit]()
    source, shown, beats, floods, round_shown = EventSubject(), [], [], [], threading.Event()
    size = STEPS + LIFECYCLE
    started = time.perf_counter()

    def show(received):
        window.show(f"image {received.image_index}: {received.kind} {received.seq}", received.seq % size / size)
        shown.append(received.seq)
        if received.seq % size == size - 1:
            round_shown.set()

    def produce():
        for first in range(0, ROUNDS * size, size):
            time.sleep(0.3)  # the loop runs and beats by then
            begun = time.perf_counter()
            for index in range(first, first + size):
                source.on_next(event(index))
            produced = time.perf_counter()
            round_shown.wait(GIVE_UP_S)
            round_shown.clear()
            floods.append((begun, produced, time.perf_counter()))

    def beat():
        beats.append(time.perf_counter())
        if len(floods) == ROUNDS or time.perf_counter() - started > GIVE_UP_S:
            window.stop()

    source.observable.pipe(deliver(way, window.scheduler(way))).subscribe(on_next=show, on_error=print)
    window.every(BEAT_S, beat)
    threading.Thread(target=produce, daemon=True).start()
    window.run()
    return summary(shown, beats, floods)


def summary(shown, beats, floods):
    """The lags of the beats within the floods, and whether all arrived that must."""
    size = STEPS + LIFECYCLE
    spans = [(before, after) for before, after in itertools.pairwise(beats)]
    lags_ms = sorted(
        max(0.0, (after - before - BEAT_S) * 1000)
        for before, after in spans
        if any(begun <= after and before <= ended for begun, _, ended in floods)
    ) or [0.0]
    expected = [index for index in range(ROUNDS * size) if index % 11 == 10]
    return {
        "p50_ms": round(statistics.median(lags_ms), 1),
        "p95_ms": round(lags_ms[int(len(lags_ms) * 0.95)], 1),
        "max_ms": round(lags_ms[-1], 1),
        "beats": len(lags_ms),
        "rendered": len(shown),
        "lifecycle_in_order": [seq for seq in shown if seq % 11 == 10] == expected,
        "last_shown": bool(shown) and shown[-1] == ROUNDS * size - 1,
        "produce_s": round(statistics.mean(produced - begun for begun, produced, _ in floods), 2) if floods else None,
        "all_shown_s": round(statistics.mean(ended - begun for begun, _, ended in floods), 2) if floods else None,
    }


def busy(kit, way):
    """How long a producer of 100 events at 10 ms takes while the GUI thread is busy 200 of every 230 ms.

    In ideals; one is what the same producer takes beside the same busy thread when it emits nothing.
    """
    window = {"tk": TkWindow, "qt": QtWindow}[kit]()
    source, shown, took = EventSubject(), [], []
    source.observable.pipe(deliver(way, window.scheduler(way))).subscribe(on_next=shown.append, on_error=print)

    def work():  # in Python, so that it holds the interpreter as well
        until = time.perf_counter() + 0.2
        while time.perf_counter() < until:
            pass
        if took:
            window.stop()

    def produce():
        time.sleep(0.3)
        ideal_s = timed(lambda index: index)
        took.append(timed(lambda index: source.on_next(event(index))) / ideal_s)

    def timed(act):
        started = time.perf_counter()
        for index in range(100):
            time.sleep(0.01)  # what a sampler's step would take
            act(index)
        return time.perf_counter() - started

    window.every(0.230, work)
    threading.Thread(target=produce, daemon=True).start()
    window.run()
    return {"producer_ratio": round(took[0], 2)}


def run_case(kit, way):
    """Both measurements of a case, each in a process of its own; the RxPY ones may end in a hang or a crash."""
    merged = {}
    for measurement in ("flood", "busy"):
        command = [sys.executable, __file__, measurement, kit, way]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603  our own words
            merged |= json.loads(done.stdout.splitlines()[-1])
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            merged[f"{measurement}_failed"] = type(error).__name__
    return merged


def broken_bounds(row):
    """What of the bounds a row of rxpipe's breaks."""
    checks = {
        f"p95 lag above {P95_LAG_MS} ms": row.get("p95_ms", 1e9) > P95_LAG_MS,
        f"maximal lag above {MAX_LAG_MS} ms": row.get("max_ms", 1e9) > MAX_LAG_MS,
        "lifecycle events missing or out of order": not row.get("lifecycle_in_order"),
        "last state not shown": not row.get("last_shown"),
        f"producer slowed beyond {PRODUCER_RATIO}": row.get("producer_ratio", 1e9) > PRODUCER_RATIO,
    }
    return [name for name, broken in checks.items() if broken]


def with_display(run):
    """Run with an X display, an Xvfb of our own where there is none."""
    if os.environ.get("DISPLAY"):
        return run()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import start_xvfb  # noqa: PLC0415  found on the path set above

    server, os.environ["DISPLAY"] = start_xvfb()
    try:
        return run()
    finally:
        server.terminate()
        server.wait(10)


def table():
    """Run all cases and print them; the exit code."""
    failures = []
    for kit, way in CASES:
        row = run_case(kit, way)
        print(f"{kit:3} {way:22} {json.dumps(row)}", flush=True)
        failures += [f"{kit} {way}: {bound}" for bound in broken_bounds(row) if way != "RxPY"]
    print("\n".join(failures) or "all bounds of rxpipe's rows hold")
    return 1 if failures else 0


def main():
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if len(sys.argv) > 1:
        measurement, kit, way = sys.argv[1:]
        print(json.dumps({"flood": flood, "busy": busy}[measurement](kit, way)))
        return 0
    return with_display(table)


if __name__ == "__main__":
    sys.exit(main())

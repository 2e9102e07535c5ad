"""Rx schedulers for GUI threads: any thread may schedule, only the GUI thread runs.

One queue core and a thin port per loop (Tk, Qt, asyncio, a bare `pump()`), for the controller and the views. A producer
never calls the toolkit, it only appends to a deque: a window that is busy, not yet started or already destroyed can
neither block it nor raise into it.
"""

from rxpipe.rx.mainloop.aio import AsyncioScheduler
from rxpipe.rx.mainloop.base import FRAME_S, LoopCounters, MainLoopScheduler
from rxpipe.rx.mainloop.pump import PumpScheduler
from rxpipe.rx.mainloop.qt import QtScheduler
from rxpipe.rx.mainloop.tk import TkScheduler

__all__ = [
    "FRAME_S",
    "AsyncioScheduler",
    "LoopCounters",
    "MainLoopScheduler",
    "PumpScheduler",
    "QtScheduler",
    "TkScheduler",
]

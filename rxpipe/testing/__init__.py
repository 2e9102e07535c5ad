"""Testing streams and pipelines in virtual time: part of the product.

```python
def test_debounce_lets_the_last_of_a_burst_through(marbles):   # the fixture comes with the package
    source = marbles.hot("-a-bc---d-|")
    marbles.expect(source.pipe(ops.debounce(0.002))).to_be("------c---(d|)")
    source.subscriptions.to_be("^---------!")
```

`Marbles` is the fixture: cold, hot, attempts, unruly make streams; expect, turbine, expect_order, eventually and probe
look at them; run plays a whole pipeline. A test also fails for what it leaves behind, for signals that reach nobody and
for real threads. `prove` checks an operator, `laws` a run, `strategies` draws streams; `replay`, `Player` and
`to_marbles` play a recorded run again.

Names load when they are first used, because most tests need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxpipe.testing.clock import MarbleError as MarbleError
    from rxpipe.testing.clock import Runaway as Runaway
    from rxpipe.testing.clock import VirtualClock as VirtualClock
    from rxpipe.testing.diagram import MarblePicture as MarblePicture
    from rxpipe.testing.files import FaultyFiles as FaultyFiles
    from rxpipe.testing.grammar import MarbleSyntaxError as MarbleSyntaxError
    from rxpipe.testing.grammar import parse as parse
    from rxpipe.testing.leaks import Leaked as Leaked
    from rxpipe.testing.leaks import SignalDropped as SignalDropped
    from rxpipe.testing.marbles import Marbles as Marbles
    from rxpipe.testing.matchers import anything as anything
    from rxpipe.testing.matchers import close_to as close_to
    from rxpipe.testing.matchers import error_like as error_like
    from rxpipe.testing.matchers import instance as instance
    from rxpipe.testing.matchers import one_of as one_of
    from rxpipe.testing.matchers import run_end as run_end
    from rxpipe.testing.matchers import run_start as run_start
    from rxpipe.testing.matchers import stage_cancelled as stage_cancelled
    from rxpipe.testing.matchers import stage_end as stage_end
    from rxpipe.testing.matchers import stage_failed as stage_failed
    from rxpipe.testing.matchers import stage_image as stage_image
    from rxpipe.testing.matchers import stage_retry as stage_retry
    from rxpipe.testing.matchers import stage_start as stage_start
    from rxpipe.testing.matchers import stage_step as stage_step
    from rxpipe.testing.misbehave import SUBSCRIBER_HABITS as SUBSCRIBER_HABITS
    from rxpipe.testing.misbehave import UNRULY_SOURCES as UNRULY_SOURCES
    from rxpipe.testing.misbehave import SubscriberFault as SubscriberFault
    from rxpipe.testing.misbehave import interleavings as interleavings
    from rxpipe.testing.mismatch import Mismatch as Mismatch
    from rxpipe.testing.operator_laws import prove as prove
    from rxpipe.testing.player import Player as Player
    from rxpipe.testing.pulling import Turbine as Turbine
    from rxpipe.testing.pulling import turbine as turbine
    from rxpipe.testing.recorded import replay as replay
    from rxpipe.testing.recorded import to_marbles as to_marbles
    from rxpipe.testing.rendering import render as render
    from rxpipe.testing.rows import timeline as timeline
    from rxpipe.testing.scripted import ScriptedBackend as ScriptedBackend
    from rxpipe.testing.scripted import ScriptedRun as ScriptedRun
    from rxpipe.testing.servers.comfyui import ComfyUIServer as ComfyUIServer
    from rxpipe.testing.servers.webui import Fault as Fault
    from rxpipe.testing.servers.webui import WebUIServer as WebUIServer
    from rxpipe.testing.signals import notification as notification
    from rxpipe.testing.virtual import RealThread as RealThread
    from rxpipe.testing.virtual import VirtualTime as VirtualTime

_EVENTS = ("run_end", "run_start", "stage_cancelled", "stage_end", "stage_failed", "stage_image", "stage_retry")
_HOMES = {
    "clock": ("MarbleError", "Runaway", "VirtualClock"),
    "diagram": ("MarblePicture",),
    "files": ("FaultyFiles",),
    "grammar": ("MarbleSyntaxError", "parse"),
    "leaks": ("Leaked", "SignalDropped"),
    "marbles": ("Marbles",),
    "matchers": ("anything", "close_to", "error_like", "instance", "one_of", "stage_start", "stage_step", *_EVENTS),
    "misbehave": ("SUBSCRIBER_HABITS", "UNRULY_SOURCES", "SubscriberFault", "interleavings"),
    "mismatch": ("Mismatch",),
    "recorded": ("replay", "to_marbles"),
    "rendering": ("render",),
    "scripted": ("ScriptedBackend", "ScriptedRun"),
    "signals": ("notification",),
    "rows": ("timeline",),
    "player": ("Player",),
    "pulling": ("Turbine", "turbine"),
    "operator_laws": ("prove",),
    "virtual": ("RealThread", "VirtualTime"),
    "servers.comfyui": ("ComfyUIServer",),
    "servers.webui": ("Fault", "WebUIServer"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605 - a list, made from the table that also loads the names


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

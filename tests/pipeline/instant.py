"""A backend without delays, and a chain run on it."""

from __future__ import annotations

import reactivex as rx

import rxpipe as rxp
from rxpipe.testing.scripted import tiny_picture


class Instant(rxp.Backend):
    """Renders one tiny picture of the seed at once; an adetailer finds nothing. rendered: the stages, as asked for."""

    name = "instant"

    def __init__(self):
        self.rendered = []

    def render(self, stage, source):
        del source
        self.rendered.append(stage)
        if stage.stage_type == "adetailer":
            return rx.of(rxp.Output(b"", unchanged=True))
        return rx.of(rxp.Output(tiny_picture(stage.seed)))


def run_of(*parts, backend=None, **settings):
    """The result of a chain, with its pictures in memory unless *settings* say otherwise."""
    return rxp.PipelineRunner(backend or Instant()).run(rxp.chain(*parts, **{"out": None, **settings}))

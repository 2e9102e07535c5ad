"""Stages of one's own: a type checker infers a chain of any length, and flags each line that is marked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator  # noqa: TC003  # read at run time, as a user writes it

from PIL import Image  # noqa: TC002  # as above
from reactivex import operators as ops

import rxpipe as rxp


@rxp.image_stage
def stamped(artifact: rxp.Artifact, text: str) -> Image.Image:
    return artifact.to_image().convert(text)


@rxp.image_stage
def twice(artifact: rxp.Artifact, count: int = 1) -> Iterator[rxp.Artifact]:
    yield from [artifact] * count


@rxp.image_stage
async def awaited(artifact: rxp.Artifact) -> rxp.Artifact:
    return artifact


@rxp.image_stage(on_error="pass")
async def streamed(artifact: rxp.Artifact, strength: float) -> AsyncIterator[rxp.Artifact]:
    yield artifact.with_metadata(strength=strength)


class Captioner:
    def __init__(self, weights: str) -> None:
        self.weights = weights

    def __call__(self, artifact: rxp.Artifact) -> rxp.Artifact:
        return artifact.with_metadata(caption=self.weights)


captioner = rxp.image_stage(Captioner)


def score(artifact: rxp.Artifact) -> float:
    return float(artifact.number)


MADE: rxp.Chain = rxp.chain(
    *(rxp.txt2img("a"), stamped("x"), twice(2), awaited(), awaited, captioner("a"), streamed(0.1)),
    rxp.keep_if(lambda image: image.seed == 1),
    ops.take(1),
    ops.filter(lambda image: image.number > 1),
    rxp.keep_best(1, by=score),
    rxp.tee(rxp.upscale(), rxp.chain(rxp.img2img(), rxp.upscale())),
    rxp.when(lambda image: bool(image.seed), rxp.adetailer(), awaited),
    *(rxp.upscale(), rxp.resize(100), rxp.save_as("jpeg"), rxp.grid(2)),
    out=None,
)
stamped(3)  # wrong: type
stamped()  # wrong: nothing given
twice(cuont=2)  # wrong: name
captioner(3)  # wrong: type, of a class's argument
streamed("a")  # wrong: type, under a decorator with settings
rxp.save_as("gif")  # wrong: none of the allowed values
rxp.keep_best(1, by=len)  # wrong: no function on artifacts
rxp.tee(3)  # wrong: no chain
rxp.chain(3)  # wrong: no stage
rxp.chain(rxp.txt2img("a"), out=3)  # wrong: type

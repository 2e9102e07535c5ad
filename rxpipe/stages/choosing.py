"""Stages that choose images or add some: keep_if, keep_best, expand; and what to choose by."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from operator import mul
from typing import TYPE_CHECKING

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxpipe.artifact import SCORES, Artifact
from rxpipe.logs import logger
from rxpipe.pictures.faces import find_faces
from rxpipe.stages.arguments import stage_name
from rxpipe.stages.operators import OperatorStage, operator_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def keep_if(predicate: Callable[[Artifact], bool]) -> OperatorStage:
    """Return a stage that keeps the images for which *predicate* is true."""
    return operator_stage("keep_if", ops.filter(predicate), predicate=stage_name(predicate))


def keep_best(count: int, *, by: Callable[[Artifact], float]) -> OperatorStage:
    """Return a stage that waits for all images and keeps the *count* with the highest *by*, in their own order.

    Each image that is kept has its score among the `scores` of its record, and in its metadata; the scores of all of
    them are in the log.

    Raises:
        ValueError: *count* is below 1.
    """
    if count < 1:
        raise ValueError(f"keep_best: got {count}, at least 1 must be kept")
    measure = stage_name(by, "score")

    def scored(artifact: Artifact) -> tuple[float, Artifact]:
        score = float(by(artifact))
        return score, with_score(artifact, measure, score)

    def best(images: list[tuple[float, Artifact]]) -> Iterable[Artifact]:
        ranked = sorted(range(len(images)), key=lambda n: images[n][0], reverse=True)[:count]
        for number, (score, artifact) in enumerate(images):
            kept = "kept" if number in ranked else "dropped"
            logger.info("keep_best: image {}, {} {:g}: {}", artifact.id, measure, score, kept)
        return [images[n][1] for n in sorted(ranked)]

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        return source.map(scored).to_list().flat_map(lambda images: each(best(images)))

    return operator_stage("keep_best", operator, count=count, by=measure)


def with_score(artifact: Artifact, measure: str, score: float) -> Artifact:
    """Return the artifact with one more score in its metadata, from where its next record takes it."""
    before = artifact.metadata.get(SCORES)
    return artifact.with_metadata(**{SCORES: {**(before if isinstance(before, Mapping) else {}), measure: score}})


def expand(function: Callable[[Artifact], Iterable[Artifact]]) -> OperatorStage:
    """Return a stage that makes any number of images from each; a second one with the same id gets an id of its own."""

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        return source.flat_map(lambda artifact: each(function(artifact)))

    return operator_stage("expand", operator, function=stage_name(function))


def each(artifacts: Iterable[Artifact]) -> Observable[Artifact]:
    """Emit all of them immediately, on the subscriber's thread; RxPY's `from_iterable` would use its trampoline."""

    def subscribe(observer: abc.ObserverBase[Artifact], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        for artifact in artifacts:
            observer.on_next(artifact)
        observer.on_completed()
        return Disposable()

    return Observable(subscribe)


_CROSS = {"here": (1, 1), "left": (0, 1), "right": (2, 1), "above": (1, 0), "below": (1, 2)}


def sharpness(artifact: Artifact) -> float:
    """Return how sharp a picture is: the variance of its Laplacian (grey levels squared); higher is sharper."""
    from PIL import ImageMath  # importing rxpipe loads no Pillow  # noqa: PLC0415

    grey = artifact.to_image().convert("L")
    width, height = grey.width - 2, grey.height - 2
    if min(width, height) <= 0:
        return 0.0
    shifted = {name: grey.crop((x, y, x + width, y + height)) for name, (x, y) in _CROSS.items()}
    laplacian = ImageMath.lambda_eval(
        lambda at: at["left"] + at["right"] + at["above"] + at["below"] - at["here"] * 4, **shifted
    )
    values = array("i", laplacian.tobytes())
    count = len(values)
    total: int = sum(values)
    squares: int = sum(map(mul, values, values))
    return (count * squares - total * total) / (count * count)  # of whole numbers, so exact


def has_face(artifact: Artifact, *, confidence: float = 0.5) -> bool:
    """Return whether a face is found in a picture: `when(has_face, adetailer())`.

    Args:
        artifact: the image. confidence: of the surest find, 0 to 1, that is enough.

    Raises:
        MissingPackage: the detector needs the extra `sketch`.
    """
    searching = find_faces(artifact.to_array())
    while True:
        try:
            next(searching)
        except StopIteration as found:
            return any(face.confidence >= confidence for face in found.value)

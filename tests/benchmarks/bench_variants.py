"""A thousand variants through four stages on the embedded backend, and a hundred thousand that are only planned.

`python tests/benchmarks/bench_variants.py [VARIANTS]`. The record of a run grows by its events, so the growth an image
is held against that of a run without variants.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from table import Row, at_most, show

import rxpipe as rxp

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = {"width": 64, "height": 64, "steps": 1, "seed": 1}


def chain(count: int, out: Path, *, varied: bool) -> rxp.Chain:
    """Four stages, and so many images: variants of a prompt and two settings, or one prompt's."""
    prompt = "a {" + "|".join(f"mill {n}" for n in range(count // 10)) + "}" if varied else "a mill"
    variants = {"sweep": {"cfg_scale": "5-9", "upscale.scale": [1, 1.5]}, "limit": count} if varied else None
    return rxp.chain(
        rxp.txt2img(prompt, images=1 if varied else count, **SMALL),
        rxp.img2img(steps=1, denoising_strength=0.2),
        rxp.adetailer(),
        rxp.upscale(scale=1.5),
        order="image",
        out=out,
        save="final",
        variants=variants,
    )


def resident_mb() -> float:
    """The process's memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(count: int, out: Path, *, varied: bool) -> tuple[float, float]:
    """Seconds of CPU, and the MB by which the process grew from a tenth of the images to the last."""
    executor = rxp.PipelineExecutor(rxp.open_backend("embedded"))
    marks: dict[int, float] = {}

    def mark(event: rxp.StageEvent) -> None:
        if isinstance(event, rxp.StageImageProgress) and event.stage_type == "upscale":
            number = event.image_index or 0
            if number in {count // 10, count}:
                marks[number] = resident_mb()

    executor.events.subscribe(mark)
    begin = time.process_time()
    run = executor.start(chain(count, out, varied=varied))
    run.wait()
    if run.result.tally.done != count:
        raise RuntimeError(str(run.result))
    return time.process_time() - begin, marks[count] - marks[count // 10]


def first_of_many() -> tuple[int, float]:
    """How many of 100,000 variants are made when the first picture is finished, and the MB that they cost."""
    prompt = "{" + "|".join(map(str, range(400))) + "} {" + "|".join(map(str, range(250))) + "}"
    gc.collect()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    many = rxp.chain(rxp.txt2img(prompt, **SMALL), out=None, variants={"limit": 100_000})
    executor = rxp.PipelineExecutor(rxp.open_backend("embedded"))
    made, seen = [0], list[int]()
    variants = many.variants
    kind = type(variants)

    class Watched(kind):  # type: ignore[misc, valid-type]  # of the object that counts
        def variant(self, number: int) -> object:
            made[0] = max(made[0], number)
            return super().variant(number)

    variants.__class__ = Watched

    def on_event(event: rxp.StageEvent) -> None:
        if isinstance(event, rxp.StageImageProgress):
            seen.append(made[0])
            executor.active.cancel()

    executor.events.subscribe(on_event)
    executor.start(many).wait()
    return seen[0], (tracemalloc.get_traced_memory()[1] - before) / 1e6


def rows(count: int) -> Iterator[Row]:
    """Each measurement with its aim."""
    with tempfile.TemporaryDirectory() as folder:
        measured(10, Path(folder) / "warm", varied=True)
        tracemalloc.start()
        made, cost = first_of_many()
        tracemalloc.stop()
        yield at_most("variants made of 100,000 when the first picture is finished", made, 1)
        yield at_most("memory of a run of 100,000 variants to its first picture", cost, 8, " MB")
        plain_s, plain = measured(count, Path(folder) / "plain", varied=False)
        varied_s, varied = measured(count, Path(folder) / "varied", varied=True)
    yield Row(f"growth of the process over {count} images without variants", f"{plain:.1f} MB")
    yield at_most(f"growth over {count} variants", varied, 0.02 * count, " MB")
    yield at_most(f"CPU time of {count} variants through four stages against without", varied_s / plain_s, 1.15)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    sys.exit(show(f"{size} variants through four stages", rows(size)))

"""Local models: what four stages take, and the memory that a large upscaled picture takes. Needs `.ci/diffusers` first.

`python tests/benchmarks/bench_diffusers.py [stages upscale deep]`; the first two if none is named: `deep`, a network of
full depth on a smaller picture, takes minutes. The exit code is 1 if an aim is missed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from table import Row, at_most, show

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-diffusers" / "bin" / "python"
MOST_MB, MOST_S, PATIENCE_S = 1000.0, 3.0, 3600.0
PARTS = {
    "stages": ("stages",),
    "upscale": ("upscale", 870, 580, 1),
    "deep": ("upscale", 256, 192, 23),
}


def here() -> None:
    """Make the tests' models and helpers importable; in a process of one measurement only."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "backends"), str(ROOT / "tests" / "diffusers")]
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["RXPIPE_STORE"] = "none"


def stages(folder: Path) -> Iterator[Row]:
    """Four stages of 3 images of 64 px with a tiny model, loaded for it; imports are not counted."""
    here()
    import tiny  # noqa: PLC0415  imports torch

    import rxpipe as rxp  # noqa: PLC0415  of this checkout

    tiny.sd(folder / "sd")
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt="a cat", width=64, height=64, steps=6, images=3, seed=7),
        img2img=rxp.Img2ImgConfig(steps=6, denoising_strength=0.5),
        adetailer=rxp.AdetailerConfig(detector="mediapipe_face_full", steps=4),
        upscale=rxp.UpscaleConfig(scale=2),
        out=folder / "out",
    )
    with rxp.open_backend(f"diffusers:{folder / 'sd'}?device=cpu") as backend:
        begin_s = time.monotonic()
        rxp.PipelineRunner(backend).run(config).raise_for_status()
        yield at_most("four stages x 3 images of 64 px, the model loaded", time.monotonic() - begin_s, MOST_S, " s")
        begin_s = time.monotonic()
        rxp.PipelineRunner(backend).run(config).raise_for_status()
        yield Row("the same again", f"{time.monotonic() - begin_s:.2f} s")


def upscale(folder: Path, width: int, height: int, blocks: int) -> Iterator[Row]:
    """A picture upscaled 4 times by an RRDBNet of full width, through a backend; the most memory of the process."""
    here()
    sys.path.append(str(PYTHON.parent.parent / "extra"))
    import beside  # noqa: PLC0415  the tests' way to have spandrel

    library = beside.give_operators()
    import tiny  # noqa: PLC0415  imports torch
    import torch  # noqa: PLC0415  see above
    from pixels import given, grain, pixels  # noqa: PLC0415  see above
    from safetensors.torch import save_file  # noqa: PLC0415  see above
    from spandrel.architectures.ESRGAN import ESRGAN  # noqa: PLC0415  see above
    from stages import Watched, stage_of  # noqa: PLC0415  see above

    import rxpipe as rxp  # noqa: PLC0415  of this checkout

    torch.set_num_threads(os.cpu_count() or 1)
    tiny.sd(folder / "sd")
    (folder / "ESRGAN").mkdir()
    save_file(ESRGAN(num_blocks=blocks, scale=4).state_dict(), folder / "ESRGAN" / "full4x.safetensors")
    os.environ["RXPIPE_MODELS"] = str(folder)
    with rxp.open_backend(f"diffusers:{folder / 'sd'}?device=cpu") as backend:
        before_mb, begin_s = _most_mb(), time.monotonic()
        stage = stage_of(rxp.UpscaleConfig(scale=4, upscaler="full4x"))
        watched = Watched(backend.render(stage, given(grain(width, height))))
        watched.wait_for(lambda seen: seen.completed or seen.error is not None, PATIENCE_S)
        out = watched.output
        took_s, most_mb = time.monotonic() - begin_s, _most_mb()
    high, wide = pixels(out.data).shape[:2]
    del library
    what = f"{wide} x {high} px ({wide * high / 1e6:.1f} megapixels), RRDB of {blocks} blocks"
    yield at_most(f"memory: {what}", most_mb, MOST_MB, " MB")
    yield Row("  of it before, torch and diffusers imported", f"{before_mb:.0f} MB; took {took_s:.0f} s")


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(name: str, *given: str) -> int:
    """One measurement, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "stages":
            return show("Local models", stages(Path(folder)))
        width, height, blocks = map(int, given)
        return show("Local models", upscale(Path(folder), width, height, blocks))


def main(names: list[str]) -> int:
    """Measure each of the parts named in a process of its own."""
    if names[:1] == ["measure"]:
        return measure(*names[1:])
    if not PYTHON.exists():
        raise SystemExit(f"{PYTHON} is not there: run .ci/diffusers, which makes it")
    commands = [[str(PYTHON), __file__, "measure", *map(str, PARTS[name])] for name in names or ("stages", "upscale")]
    return max(subprocess.run(command, check=False).returncode for command in commands)  # noqa: S603  our own words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

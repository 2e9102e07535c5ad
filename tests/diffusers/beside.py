"""Runs spandrel and ultralytics, which want torchvision, in one process beside the tests; imports take long.

`.ci/diffusers` puts them into a folder beside the environment. No torchvision there is built for the processor's torch;
of its compiled operators one is needed, which is given here. All else is the packages' own.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "extra"


def run(root):
    """Return what both report of models in the folder *root*, which has an SD model."""
    assert FOLDER.is_dir(), f"{FOLDER} is not there: run .ci/diffusers, which makes it"
    paths = os.pathsep.join([*sys.path, str(FOLDER)])
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, __file__, str(root)], check=False, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": paths, "RXPIPE_MODELS": str(root), "YOLO_CONFIG_DIR": str(root / "settings")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rpartition("\n{")[2].join(["{", ""]))


def give_operators():
    """What torchvision's own library registers when it loads; nms is used, qnms only declared."""
    import torch  # noqa: PLC0415  in the process of its own only

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _kept, "CPU")
    import torchvision.extension  # noqa: PLC0415  see above

    torchvision.extension._has_ops = lambda: True
    return library


def _kept(boxes, scores, most):
    """The boxes that overlap no better one by more than *most* of both, the best first."""
    import torch  # noqa: PLC0415  see above

    order, kept = scores.argsort(descending=True).tolist(), []
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    for one in order:
        others = torch.tensor(kept, dtype=torch.long)
        low, high = torch.maximum(boxes[one, :2], boxes[others, :2]), torch.minimum(boxes[one, 2:], boxes[others, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        if not bool((shared / (areas[one] + areas[others] - shared) > most).any()):
            kept.append(one)
    return torch.tensor(kept, dtype=torch.long)


def _report(root):
    from with_detectors import report as of_detectors  # noqa: PLC0415  see above
    from with_upscalers import report as of_upscalers  # noqa: PLC0415  see above

    from rxpipe.backends.diffusers.backend import DiffusersBackend  # noqa: PLC0415  see above

    asked = []
    socket.getaddrinfo = lambda *names, **_: asked.append(str(names)) or []
    socket.socket.connect = lambda _, address: asked.append(str(address))
    with DiffusersBackend(str(root / "sd"), device="cpu") as backend:
        found = {"detectors": of_detectors(backend, root), "upscalers": of_upscalers(backend, root)}
    return {**found, "asked": asked}


if __name__ == "__main__":
    library = give_operators()
    print(f"\n{json.dumps(_report(Path(sys.argv[1])))}")  # noqa: T201  the test reads it

"""Run by the tests in a process of its own: YOLO models, made here, through ultralytics and through a backend."""

import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pixels import TXT2IMG, astronaut, given, output, pixels

import rxpipe as rxp
from rxpipe.backends.diffusers.detectors import _quietly
from rxpipe.errors import BackendRejected

KINDS = ("yolov8n", "yolov8n-seg")
FOUND = {"steps": 2, "denoising_strength": 0.5, "confidence": 0.3, "mask_blur": 0, "dilate_erode": 0}


def make(folder, kind, picture):
    """Save a YOLO model with random weights that is sure of what it sees."""
    with _quietly():
        from ultralytics import YOLO  # noqa: PLC0415  its notices are off only here
        from ultralytics.utils import YAML  # noqa: PLC0415  see above
        from ultralytics.utils.checks import check_yaml  # noqa: PLC0415  see above
    torch.manual_seed(0)
    config = YAML.load(check_yaml(f"{kind.replace('v8n', 'v8')}.yaml")) | {"nc": 2, "scale": "n"}
    path = folder / f"tiny-{kind}.yaml"
    YAML.save(path, config)
    model = YOLO(str(path))
    light = torch.from_numpy(np.array(picture.resize((640, 640)))).permute(2, 0, 1)[None].float() / 255
    norms = [module for module in model.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.model.train()(light)
    for branch in model.model.model[-1].cv3:
        branch[-1].register_forward_hook(_calibrate)
    model.model.eval()(light)
    for branch in model.model.model[-1].cv3:
        branch[-1]._forward_hooks.clear()
    model.save(str(folder / f"{kind}.pt"))
    return folder / f"{kind}.pt"


def _calibrate(layer, _, logits):
    """Have a layer be sure of few places: its largest logit is 3."""
    factor = 3 / logits.std()
    layer.weight.data *= factor
    layer.bias.data = (layer.bias.data - logits.max()) * factor + 3


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def refusals(backend, folder, source):
    """What is said of files that hold more than layers; whether any of it ran."""
    trace, said = folder / "trace", []
    torch.save({"model": Bomb(str(trace))}, folder / "zipped.pt")
    (folder / "plain.pt").write_bytes(pickle.dumps(Bomb(str(trace))))
    (folder / "text.pt").write_bytes(b"<html>404</html>")
    for name in ("zipped", "plain", "text"):
        section = rxp.AdetailerConfig(detector=str(folder / f"{name}.pt"), **FOUND)
        try:
            output(backend, section, source, before=rxp.Txt2ImgConfig(**TXT2IMG))
        except BackendRejected as error:
            said.append(str(error))
    return {"said": said, "ran": trace.exists()}


def looked(backend, path, picture):
    """What a backend makes of a picture with a detector, and what the detector itself finds."""
    from ultralytics import YOLO  # noqa: PLC0415  imported by then

    (own,) = YOLO(str(path)).predict(picture, conf=FOUND["confidence"], verbose=False, device="cpu")
    section = rxp.AdetailerConfig(detector=path.name, mask_k_largest=2, **FOUND)
    out = output(backend, section, given(picture), before=rxp.Txt2ImgConfig(**TXT2IMG))
    changed = (pixels(out.data) != pixels(given(picture).data)).any(-1) if not out.unchanged else None
    image = None if changed is None else Image.fromarray(changed.astype("u1") * 255)
    return {
        "own": [[round(side) for side in box] for box in own.boxes.xyxy.tolist()],
        "masks": own.masks is not None,
        "detections": [find["box"] for find in out.settings.get("detections", [])],
        "changed": None if image is None else image.getbbox(),
        "share": None if changed is None else float(changed.mean()),
        "warnings": out.warnings,
    }


def report(backend, root):
    """What the tests look at."""
    folder = root / "ultralytics" / "bbox"
    folder.mkdir(parents=True)
    picture = astronaut(192)
    found = {path.stem: looked(backend, path, picture) for path in (make(folder, kind, picture) for kind in KINDS)}
    return {**found, "refused": refusals(backend, folder, given(picture))}

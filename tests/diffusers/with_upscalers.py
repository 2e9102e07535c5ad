"""Run by the tests in a process of its own: models of ESRGAN's kind, made here, through spandrel and a backend."""

import pickle

import numpy as np
import torch
from pixels import astronaut, given, output, pixels
from safetensors.torch import save_file
from with_detectors import Bomb

import rxpipe as rxp
from rxpipe.errors import BackendRejected


def make(folder):
    """Save an RRDBNet that enlarges 4 times, in both forms; what it draws varies, so that seams would show."""
    from spandrel.architectures.ESRGAN import ESRGAN  # noqa: PLC0415  in a process that has it

    torch.manual_seed(0)
    net = ESRGAN(num_filters=16, num_blocks=2, scale=4)
    for name, weights in net.state_dict().items():
        if name.endswith("weight"):
            weights.normal_(0.0, 1.2 / weights[0].numel() ** 0.5)
    folder.mkdir()
    save_file(net.state_dict(), folder / "small4x.safetensors")
    torch.save(net.state_dict(), folder / "small4x-pickled.pth")


def upscaled(backend, name, picture, scale=4):
    """The pixels of a picture that a backend upscales."""
    return pixels(output(backend, rxp.UpscaleConfig(scale=scale, upscaler=name), given(picture)).data)


def whole(path, picture):
    """The pixels that the model itself makes of the whole picture."""
    from spandrel import ModelLoader  # noqa: PLC0415  in a process that has it

    light = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        drawn = ModelLoader("cpu").load_from_file(path)(light)[0]
    return drawn.clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy().astype(np.int16)


def report(backend, root):
    """What the tests look at."""
    folder = root / "ESRGAN"
    make(folder)
    picture = astronaut(256).resize((250, 210))  # two tiles and two rows of them
    own = whole(folder / "small4x.safetensors", picture)
    tiled = upscaled(backend, "small4x", picture)
    trace = folder / "trace"
    (folder / "bomb.pth").write_bytes(pickle.dumps(Bomb(str(trace))))
    try:
        upscaled(backend, "bomb", picture)
        said = None
    except BackendRejected as error:
        said = str(error)
    return {
        "spread": float(own.std()),
        "differs": int(abs(tiled - own).max()),
        "pickled": int(abs(upscaled(backend, "small4x-pickled", picture) - tiled).max()),
        "twice": upscaled(backend, "small4x", picture.crop((0, 0, 60, 40)), 2).shape,
        "refused": said,
        "ran": trace.exists(),
        "listed": [item.name for item in backend.catalog().upscalers],
    }

"""Detectors of adetailer that the user has as files: YOLO models, run by ultralytics. On the model's thread.

Such a .pt is a pickle. It is read by ultralytics' restricted loading, which makes tensors and the layers of models that
it knows, and nothing else; where that is not there it is refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from rxpipe.backends.detections import Detection
from rxpipe.backends.diffusers.files import find_detector
from rxpipe.backends.regions import Box
from rxpipe.errors import BackendFailed, BackendRejected, MissingPackage, RxPipeError
from rxpipe.pictures.faces import looks_for_faces
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from PIL import Image

ULTRALYTICS = "ultralytics"
_QUIETLY = {
    "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "ULTRALYTICS_SAFE_LOAD": "true"
}  # fmt: skip
"""Read when ultralytics is first imported: it sends nothing home, fetches nothing and installs nothing."""
_LEAST = 0.01
_CORNERS = 3  # of what has an area


class Detectors:
    """Looks for things in pictures; keeps the detector that was used last.

    Args:
        device: where models run, asked when one is needed.
    """

    def __init__(self, device: Callable[[], str]) -> None:
        self._device = device
        self._loaded: tuple[Path, Any] | None = None

    def finds(self, path: Path, picture: Image.Image, confidence: float) -> list[Detection]:
        """Return what a detector finds in a picture, the largest first.

        Args:
            path: of the detector.
            picture: RGB.
            confidence: the least that counts, 0..1.

        Raises:
            MissingPackage: ultralytics is not installed, or cannot be imported.
            BackendRejected: the file is none of its detectors, or holds more than one may load.
            BackendFailed: it could not look.
        """
        model = self._model(path)
        try:
            (found,) = model.predict(picture, conf=max(_LEAST, confidence), device=self._device(), verbose=False)
            return sorted(_detections(found, picture), key=lambda find: -find.area)
        except RxPipeError:
            raise
        except Exception as error:
            raise BackendFailed(f"detector {path}: it failed: {type(error).__name__}: {cut(str(error))}.") from error

    def _model(self, path: Path) -> Any:
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None
            self._loaded = (path, _read(path))
        return self._loaded[1]


def detector_used(name: str) -> Path | None:
    """Return the file of the detector that a unit of this name is run with; None where rxpipe's own finds faces.

    Imports nothing. A name that means faces to rxpipe too takes its own detector where ultralytics is not installed.

    Raises:
        BackendRejected: a path where no detector is.
        MissingPackage: ultralytics, which runs it, is not installed.
    """
    path = find_detector(name)
    if path is None or importlib.util.find_spec(ULTRALYTICS) is not None:
        return path
    if looks_for_faces(name) and "/" not in name and "\\" not in name:
        return None
    raise _missing(path, "it is not installed")


def _missing(path: Path, why: str) -> MissingPackage:
    return MissingPackage(
        f"the detector {path.name} needs {ULTRALYTICS}: {why}.",
        hint=f"Run: pip install {ULTRALYTICS} (AGPL-3.0; it needs the torchvision of your torch); "
        "the detector mediapipe_face_full finds faces without it.",
    )


def _read(path: Path) -> Any:
    tasks, kind = _import(path)
    before = tasks.SAFE_LOAD
    tasks.SAFE_LOAD = True
    try:
        return kind(str(path))
    except Exception as error:  # of whatever kind: the file is the user's
        raise BackendRejected(
            f"detector {path}: refused: {_said(error, path)}.",
            hint="A .pt file is a pickle, which can run any code: only tensors and layers that ultralytics knows are "
            "loaded from one. Give another, or its export to .onnx.",
        ) from error
    finally:
        tasks.SAFE_LOAD = before


def _said(error: Exception, path: Path) -> str:
    """The first line of what ultralytics says of a file, without its marks and the file's name."""
    line = str(error).partition("\n")[0].replace(str(path), "it")
    return cut(line.removeprefix("ERROR").lstrip("\u274c\ufe0f ").rstrip(".") or type(error).__name__)


def _import(path: Path) -> tuple[Any, Any]:
    with _quietly():
        try:
            from ultralytics import YOLO  # noqa: PLC0415  # seconds, and only where a user has it
            from ultralytics.nn import tasks  # noqa: PLC0415  # see above
        except (ImportError, RuntimeError) as error:
            raise _missing(path, f"it cannot be imported: {cut(str(error))}") from error
    restricted = getattr(tasks, "_SafeLoad", None)
    if not hasattr(tasks, "SAFE_LOAD") or not getattr(restricted, "SUPPORTED", False):
        raise BackendRejected(
            f"detector {path}: a {path.suffix} file is a pickle, which can run any code, and this {ULTRALYTICS} cannot "
            "load one restrictedly.",
            hint=f"Run: pip install -U {ULTRALYTICS}",
        )
    return tasks, YOLO


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Import without notices and without a network; what the user has set stays."""
    own = {name: value for name, value in _QUIETLY.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def _detections(found: Any, picture: Image.Image) -> Iterator[Detection]:
    boxes = found.boxes if found.boxes is not None else found.obb
    if boxes is None:
        raise BackendRejected(
            "detector: it names pictures and finds nothing in them; give one that detects or segments."
        )
    outlines = found.masks.xy if found.masks is not None else [()] * len(boxes)
    places = zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), outlines, strict=True)
    for (left, top, right, bottom), confidence, label, outline in places:
        box = Box(
            max(0, round(left)),
            max(0, round(top)),
            min(picture.width, round(right)),
            min(picture.height, round(bottom)),
        )
        if box.left < box.right and box.top < box.bottom:
            corners = tuple((float(x), float(y)) for x, y in outline)
            usable = corners if len(corners) >= _CORNERS else ()
            yield Detection(box, round(confidence, 3), str(found.names.get(int(label), int(label))), usable)

"""A server's classes as recorded, and the catalog that they make."""

from __future__ import annotations

import json
from pathlib import Path

from rxpipe.backends.comfyui.names import catalog_of
from rxpipe.backends.comfyui.nodes import read_class
from rxpipe.backends.comfyui.server import Server, parsed_version

DATA = Path(__file__).parents[2] / "data" / "comfyui"
LISTED = json.loads((DATA / "object_info.json").read_text("utf-8"))
CLASSES = {name: read_class(name, LISTED) for name in LISTED}
EMBEDDINGS = ("badhand",)


def classes_of(*, without=()):
    """The classes of a server that lacks some."""
    return {name: None if name in without else found for name, found in CLASSES.items()}


def catalog(*, impact=False, version="0.33.0"):
    """What the recorded server has; *impact*: with Impact-Pack."""
    lacking = () if impact else ("FaceDetailer", "UltralyticsDetectorProvider")
    server = Server(text=version, version=parsed_version(version))
    return catalog_of(classes_of(without=lacking), server, EMBEDDINGS)

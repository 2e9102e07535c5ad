"""One reader for each dialect of metadata, and the table that lists them.

```text
webui.py          A1111's text: A1111, Forge, reForge, SD.Next, ...     novelai.py         JSON in a comment
comfyui.py        a graph of nodes, followed by                         fooocus.py         JSON or A1111's text
  graph.py          links and switches                                  invokeai.py        three generations
  flow.py           texts, checkpoint, LoRAs                            swarmui.py         JSON
  passes.py         samplers in the order of their work                 easydiffusion.py   a text a setting
  enlarging.py      what enlarges it between two nodes
  workflow.py       the editor's form as the API's                      drawthings.py      JSON in XMP
services.py       Civitai, Tensor.Art, Stability Matrix, Spaces         captions.py        Mochi Diffusion, Midjourney
```

`parsed.py` holds what they share. A reader returns None where the texts are of another kind, and never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialects import (
    captions,
    comfyui,
    drawthings,
    easydiffusion,
    fooocus,
    invokeai,
    novelai,
    services,
    swarmui,
    webui,
)
from rxpipe.pictures.dialects.parsed import Dialect, Found, Parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["READERS", "Dialect", "Found", "Parsed", "parse"]

READERS: Mapping[Dialect, Callable[[Found], Parsed | None]] = {
    "swarmui": swarmui.read,
    "fooocus": fooocus.read,
    "invokeai": invokeai.read,
    "novelai": novelai.read,
    "easydiffusion": easydiffusion.read,
    "drawthings": drawthings.read,
    "civitai": services.read_civitai,
    "tensorart": services.read_tensorart,
    "stabilitymatrix": services.read_stabilitymatrix,
    "comfyui": comfyui.read,
    "huggingface": services.read_space,
    "mochi": captions.read_mochi,
    "midjourney": captions.read_midjourney,
    "a1111": webui.read,
}
"""A reader for each dialect; the first that understands the texts decides. A1111's accepts almost any."""


def parse(found: Found) -> Parsed:
    """Return what the first reader understands of the texts; empty where none does."""
    return next((parsed for read in READERS.values() if (parsed := read(found)) is not None), Parsed())

"""The embedded backend: a drawing program, not a model, that needs no GPU, no download and no network.

    words, colour      what a prompt asks for                field      noise, edges, bands of rows
    scene, sky, land,  layers that pictures are made of      paint      txt2img
    water, town, deep,                                       restyle    img2img, with strokes
    portrait                                                 faces      adetailer
    frame, encode,     generators in slices, PNG in bands    resample   upscale
    picture            given pictures                        jobs, backend: from the port to the engine

Imported only when it is opened: it loads numpy and Pillow, and scikit-image at the first face.
"""

from rxpipe.errors import require

require("The embedded backend", "numpy", "skimage")

from rxpipe.backends.sketch.backend import SketchBackend  # noqa: E402  # numpy is loaded here

__all__ = ["SketchBackend"]

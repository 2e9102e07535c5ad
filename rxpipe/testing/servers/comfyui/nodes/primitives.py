"""Numbers, texts and switches that people put in front of other nodes; nodes that fail, sleep or talk on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.comfyui.nodes.registry import NodeError, Result, Several, node

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work

OUT_OF_MEMORY = (
    "torch.OutOfMemoryError",
    (
        "CUDA out of memory. Tried to allocate 20.00 GiB. "
        "GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free."
    ),
)
"""Type and message of a card that is full."""


@node("PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean")
def _value(work: Work, values: Values) -> Any:
    del work
    return values["value"]


@node("StringConcatenate")
def _concatenate(work: Work, values: Values) -> str:
    del work
    joined: str = values["delimiter"].join((values["string_a"], values["string_b"]))
    return joined


@node("StringReplace")
def _replace(work: Work, values: Values) -> str:
    del work
    text: str = values["string"]
    return text.replace(values["find"], values["replace"])


@node("StringTrim")
def _trim(work: Work, values: Values) -> str:
    del work
    text: str = values["string"]
    return {"Both": text.strip, "Left": text.lstrip, "Right": text.rstrip}[values["mode"]]()


@node("CaseConverter")
def _convert_case(work: Work, values: Values) -> str:
    del work
    text: str = values["string"]
    ways = {"UPPERCASE": text.upper, "lowercase": text.lower, "Capitalize": text.capitalize, "Title Case": text.title}
    return ways[values["mode"]]()


@node("ComfySwitchNode")
def _switch(work: Work, values: Values) -> Any:
    del work
    return values["on_true"] if values["switch"] else values["on_false"]


@node("ETN_Parameter")
def _parameter(work: Work, values: Values) -> Any:
    del work
    return values["default"]


@node("PreviewAny")
def _preview(work: Work, values: Values) -> Result:
    del work
    text = str(values["source"])
    return Result((text,), {"text": (text,)})


@node("RecText")
def _say(work: Work, values: Values) -> Result:
    work.send_text(values["text"])
    return Result((), {"text": [values["text"]]})


@node("RecFail")
def _fail(work: Work, values: Values) -> Several:
    del work
    if values["kind"] == "oom":
        raise NodeError(*OUT_OF_MEMORY)
    raise NodeError("RuntimeError", "something broke in a node")


@node("RecSleep")
def _sleep(work: Work, values: Values) -> Any:
    work.sleep(values["seconds"])
    return values["image"]


@node("RecSleepOut")
def _sleep_at_the_end(work: Work, values: Values) -> Result:
    work.sleep(values["seconds"])
    return Result((), {"text": ["slept"]})


@node("LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker", "MediaPipeFaceMask", "SAMLoader")
def _without_its_model(work: Work, values: Values) -> Several:
    del work, values
    raise NodeError("FileNotFoundError", "Model in folder 'detection' not found: none is installed on this server")

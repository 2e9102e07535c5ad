"""One job from its start to its end: which nodes run, what they draw, what is sent, what the history keeps."""

from __future__ import annotations

import json
import random
import string
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from rxpipe.testing.servers.comfyui.cache import Order, is_link
from rxpipe.testing.servers.comfyui.nodes import NODES, NodeError, Result
from rxpipe.testing.servers.comfyui.progress import ProgressState
from rxpipe.testing.servers.comfyui.queueing import Entry, Interrupted, Item
from rxpipe.testing.servers.comfyui.sockets import JPEG, PNG
from rxpipe.testing.servers.comfyui.tracebacks import traceback_of
from rxpipe.testing.servers.comfyui.values import jpeg, png, printed
from rxpipe.testing.servers.core.site import ServerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.testing.servers.comfyui.engine import Engine
    from rxpipe.testing.servers.comfyui.files import FileStore
    from rxpipe.testing.servers.core.jobs import Outcome
    from rxpipe.testing.servers.drawing import DrawRequest

_TIPS = (
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)
_PREVIEWS = ("latent2rgb", "taesd", "auto")
_LETTERS = 5  # random ones in the name of a temporary file
_DEFAULT_STEPS = 20
_TAIL = 0.1  # of a job's latency, after its steps: decoding and saving


@dataclass(slots=True)
class Execution:
    """A running job. Made and run on the worker's thread."""

    engine: Engine
    item: Item
    node_id: str = ""
    _outputs: dict[str, Any] = field(default_factory=dict)
    _messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _executed: list[str] = field(default_factory=list)
    _steps: int = 0  # sampling steps done so far, over all nodes
    _all_steps: int = 0
    _struck: bool = False
    _progress: ProgressState = field(init=False)

    def __post_init__(self) -> None:
        self._progress = ProgressState(self.item.prompt_id)

    # -- the job ------------------------------------------------------------------------------------------------------

    def run(self) -> tuple[Entry, Outcome]:
        """Run the job; return what the history keeps, and its outcome. Raises ServerGone."""
        engine, graph = self.engine, self.item.graph
        engine.queue.clear_flag()
        self._note("execution_start", {"prompt_id": self.item.prompt_id})
        engine.cache.begin(graph)
        engine.keep_prefixes(graph)
        cached = [node_id for node_id in graph if engine.cache.get(node_id) is not None]
        self._note("execution_cached", {"nodes": cached, "prompt_id": self.item.prompt_id})
        order = Order(graph, lambda node_id: engine.cache.get(node_id) is not None, self._is_output)
        for output in self.item.outputs:
            order.add(output)
        self._all_steps = sum(self._steps_of(node_id) for node_id in order.left)
        outcome = self._run_nodes(order)
        status = "success" if outcome == "done" else "error"
        outputs = self._kept_outputs()
        meta = {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in outputs
        }
        return Entry(self.item, outputs, meta, self._messages, status, self._visible_s()), outcome

    def _run_nodes(self, order: Order) -> Outcome:
        keys = (self.item.job.stage, "*")
        try:
            self._strike(0.0)
            self.engine.queue.stand(keys, 0)
            while (node_id := order.next()) is not None:
                self._run_node(node_id)
                order.done(node_id)
            self._strike(1.0)
        except Interrupted:
            self._note("execution_interrupted", self._end_of_node(), broadcast=True)
            return "interrupted"
        except NodeError as error:
            self._note("execution_error", self._error(error.kind, error.message))
            if error.kind.endswith("OutOfMemoryError"):
                self.engine.unload()
            return "failed"
        self._note("execution_success", {"prompt_id": self.item.prompt_id})
        return "done"

    def _run_node(self, node_id: str) -> None:
        engine, self.node_id = self.engine, node_id
        node = self.item.graph[node_id]
        known = engine.cache.get(node_id)
        if known is not None:
            self._show(node_id, known)
            self._progress.finish(node_id)
            self._send_state()
            return
        self._progress.begin(node_id)
        self._send_state()
        engine.last_node_id = node_id
        self._send_own("executing", {"node": node_id, "display_node": node_id, "prompt_id": self.item.prompt_id})
        engine.queue.stand((f"node:{node['class_type']}", f"node:{node_id}"), 0)
        engine.queue.check()
        if self._is_output(node_id):
            self._strike(1.0)
        result = self._result(node)
        engine.cache.keep(node_id, result)
        self._executed.append(node_id)
        self._show(node_id, result)
        self._progress.finish(node_id)
        self._send_state()

    def _result(self, node: dict[str, Any]) -> Result:
        """Return what a node returns; what its code raises becomes a NodeError."""
        engine = self.engine
        if node["class_type"] == "CheckpointLoaderSimple":
            self.load(node["inputs"]["ckpt_name"])
        if self._is_output(self.node_id) and not self._all_steps:
            self._spend(1.0)
            engine.queue.check()
        try:
            result = NODES[node["class_type"]](self, self._inputs(node))
        except (Interrupted, NodeError, ServerGone):
            raise
        except Exception as error:
            kind = type(error)
            name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
            raise NodeError(name, str(error)) from error
        if self._is_output(self.node_id) and self._all_steps:
            self._spend(_TAIL / len(self.item.outputs), deaf=True)
        return result

    def _inputs(self, node: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in node["inputs"].items():
            if is_link(value):
                source = self.engine.cache.get(value[0])
                values[name] = None if source is None else source.outputs[value[1]]
            else:
                values[name] = value
        return self._with_defaults(node["class_type"], values)

    def _with_defaults(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        info = self.engine.catalog.info(name) or {"input": {}}
        for group in info["input"].values():
            for key, spec in group.items():
                if key not in values and isinstance(spec, list) and len(spec) > 1 and "default" in spec[1]:
                    values[key] = spec[1]["default"]
        return values

    def _is_output(self, node_id: str) -> bool:
        info = self.engine.catalog.info(self.item.graph[node_id]["class_type"])
        return info is not None and bool(info["output_node"])

    def _steps_of(self, node_id: str) -> int:
        """Return how many steps a node that is to run will take; a linked number counts as the usual one."""
        node = self.item.graph[node_id]
        inputs = node["inputs"]
        if node["class_type"] == "ImageUpscaleWithModel":
            return 1
        if node["class_type"] == "KSamplerAdvanced":
            steps, first, last = (inputs.get(name, 0) for name in ("steps", "start_at_step", "end_at_step"))
            if all(isinstance(value, int) for value in (steps, first, last)):
                return int(max(0, min(last, steps) - first))
        if node["class_type"] in ("KSampler", "FaceDetailer") or node["class_type"].endswith("Scheduler"):
            steps = inputs.get("steps")
            return steps if isinstance(steps, int) else _DEFAULT_STEPS
        return 0

    # -- messages -----------------------------------------------------------------------------------------------------

    def _note(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        """Keep a message for the history, and send it to the client; to everybody only where there is none."""
        data["timestamp"] = int(time.time() * 1000)
        self._messages.append((event, data))
        if broadcast or self.item.client_id is not None:
            self._send(event, data)

    def _send_own(self, event: str, data: dict[str, Any]) -> None:
        if self.item.client_id is not None:
            self._send(event, data)

    def _send(self, event: str, data: dict[str, Any]) -> None:
        self.engine.sockets.send(event, data, self.item.client_id)

    def _send_state(self) -> None:
        if self.engine.version.has("progress state"):
            self._send("progress_state", self._progress.shown())

    def _show(self, node_id: str, result: Result) -> None:
        if result.ui is None:
            return
        self._outputs[node_id] = result.ui
        self._send_own(
            "executed",
            {"node": node_id, "display_node": node_id, "output": result.ui, "prompt_id": self.item.prompt_id},
        )

    def _end_of_node(self) -> dict[str, Any]:
        name = self.item.graph[self.node_id]["class_type"] if self.node_id else None
        return {
            "prompt_id": self.item.prompt_id,
            "node_id": self.node_id,
            "node_type": name,
            "executed": list(self._executed),
        }

    def _error(self, kind: str, message: str) -> dict[str, Any]:
        if self.engine.version.has("error tips"):
            message += "\n" + (_TIPS if kind.endswith("OutOfMemoryError") else "")
        node = self.item.graph[self.node_id]
        known = self._inputs(node)
        inputs = {name: known[name] for name in node["inputs"]}
        hidden = (self.engine.catalog.info(node["class_type"]) or {"input": {}})["input"].get("hidden", {})
        given = {"prompt": self.item.graph, "extra_pnginfo": self.item.extra_data.get("extra_pnginfo")}
        inputs |= {name: given[name] for name in hidden if name in given}
        return {
            **self._end_of_node(),
            "exception_message": message,
            "exception_type": kind,
            "traceback": traceback_of(self.engine.version, node["class_type"], kind, message),
            "current_inputs": {name: [printed(value)] for name, value in inputs.items()},
            "current_outputs": list(self.item.graph),
        }

    # -- what the history keeps ---------------------------------------------------------------------------------------

    def _kept_outputs(self) -> dict[str, Any]:
        fault = self.item.fault
        lost = self.engine.version.loses_outputs and self.item.client_id is None and not self._executed
        if lost or (fault is not None and fault.kind == "no_outputs"):
            return {}
        if fault is not None and fault.kind == "files_gone":
            for ui in self._outputs.values():
                for image in ui.get("images", ()):
                    if "filename" in image:
                        self.files.delete(image["type"], image["subfolder"], image["filename"])
        return self._outputs

    def _visible_s(self) -> float:
        fault = self.item.fault
        late = fault.seconds if fault is not None and fault.kind == "late_history" else 0.0
        return self.engine.job_log.clock.now() + late if late else 0.0

    # -- faults -------------------------------------------------------------------------------------------------------

    def _strike(self, done: float) -> None:
        """Let the job's fault strike if it is `done` (0..1) far enough."""
        fault = self.item.fault
        if fault is None or self._struck or done < fault.fraction:
            return
        if fault.kind == "raises" and not self.node_id:
            return  # an exception needs a node to be in
        self._struck = True
        self.engine.strike(fault, self.item)
        if fault.kind == "raises":
            raise NodeError(fault.error, fault.message)
        self.engine.queue.check()

    # -- what nodes do ------------------------------------------------------------------------------------------------

    @property
    def files(self) -> FileStore:
        """The server's folders."""
        return self.engine.files

    def draw(self, request: DrawRequest) -> bytes:
        """Return a picture as PNG; a black one under Fault.BLACK."""
        if self.item.fault is not None and self.item.fault.kind == "black":
            return png(Image.new("RGB", (request.width, request.height)))
        with self.engine.job_log.drawing():
            return self.engine.draw(request)

    def load(self, checkpoint: str) -> None:
        """Take the time of loading a checkpoint, if another one is loaded."""
        self.engine.load(checkpoint)

    def step(self, value: int, of: int, preview: Callable[[], Image.Image] | None) -> None:
        """Take the time of one step, and report it."""
        queue, version = self.engine.queue, self.engine.version
        fine = version.has("interrupt within a step")
        self._spend((1 - _TAIL) / max(1, self._all_steps), deaf=not fine)
        queue.check()
        self._steps += 1
        self._report(value, of, None if preview is None else self._preview(preview))
        self._strike(self._steps / max(1, self._all_steps))
        queue.stand((self.item.job.stage, "*"), self._steps)
        if not fine or queue.flagged:
            queue.check()

    def sleep(self, seconds: float) -> None:
        """Take time without looking at the flag."""
        self.engine.queue.work(seconds, deaf=True)

    def send_picture(self, value: int, of: int, data: bytes) -> None:
        """Send a finished PNG as progress."""
        self._report(value, of, (PNG, data))

    def send_plain_picture(self, data: bytes) -> None:
        """Send a finished PNG as event 1."""
        self.engine.sockets.send_preview(PNG, data, self.item.client_id)

    def send_text(self, text: str) -> None:
        """Send a text as event 3."""
        self.engine.sockets.send_text(self.node_id, text, self.item.client_id)

    def texts(self) -> Mapping[str, str]:
        """Return the text chunks of a saved picture: the graph, and what was posted to be kept with it."""
        extra = self.item.extra_data.get("extra_pnginfo") or {}
        return {"prompt": json.dumps(self.item.graph), **{key: json.dumps(value) for key, value in extra.items()}}

    def temp_prefix(self) -> str:
        """Return the prefix of this node's temporary files; the same as long as the node is in each graph."""
        random_part = "".join(random.choices(string.ascii_lowercase, k=_LETTERS))  # noqa: S311  # a name, no secret
        return self.engine.prefixes.setdefault(self.node_id, f"ComfyUI_temp_{random_part}")

    def faces(self, picture: Image.Image) -> list[tuple[int, int, int, int]]:
        """Return the faces in a picture."""
        return self.engine.setup.find_faces(picture)

    def is_broken(self, name: str) -> bool:
        """Return whether a model file cannot be read."""
        return name in self.engine.setup.broken

    def _spend(self, share: float, *, deaf: bool = False) -> None:
        """Take a share (0..1) of the job's latency."""
        fault = self.item.fault
        latency = self.engine.setup.latency_s.get(self.item.job.stage, 0.0)
        if fault is not None and fault.kind == "slow":
            latency = fault.seconds
        self.engine.queue.work(latency * share, deaf=deaf)

    def _report(self, value: int, of: int, picture: tuple[int, bytes] | None) -> None:
        sid, sockets = self.item.client_id, self.engine.sockets
        self._progress.step(self.node_id, value, of)
        self._send_state()
        with_metadata = sockets.wants_metadata(sid)
        if picture is not None and with_metadata:
            image_type = "image/png" if picture[0] == PNG else "image/jpeg"
            sockets.send_preview_with_metadata(self._progress.metadata(self.node_id, image_type), picture[1], sid)
        self._send("progress", {"value": value, "max": of, "prompt_id": self.item.prompt_id, "node": self.node_id})
        if picture is not None and not with_metadata:
            sockets.send_preview(picture[0], picture[1], sid)

    def _preview(self, preview: Callable[[], Image.Image]) -> tuple[int, bytes] | None:
        """Return a preview as it is sent, None where this job has none."""
        setup, method = self.engine.setup, self.engine.setup.preview_method
        if self.engine.version.has("preview method"):
            asked = self.item.extra_data.get("preview_method")
            method = asked if asked in (*_PREVIEWS, "none") else method
        if method not in _PREVIEWS:
            return None
        picture = preview()
        factor = setup.preview_size / max(picture.size)
        size = tuple(max(1, round(side * factor)) for side in picture.size)
        return JPEG, jpeg(picture.resize((size[0], size[1]), Image.Resampling.NEAREST))

"""POST /prompt: from a body to a job in the queue."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.comfyui.answers import TROUBLE, json_of
from rxpipe.testing.servers.comfyui.faults import Fault
from rxpipe.testing.servers.comfyui.queueing import Item
from rxpipe.testing.servers.comfyui.validation import INVALID_PROMPT_ID, NO_PROMPT, Refused, Validation
from rxpipe.testing.servers.core.jobs import Job

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.engine import Engine
    from rxpipe.testing.servers.comfyui.validation import Graph
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.wire import Answer, Request

_SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
_OF_JOBS = ("raises", "black", "slow", "stuck", "dies", "silent", "deaf", "socket_lost", "socket_closed")
_AFTER_JOBS = ("deleted", "interrupted", "no_outputs", "files_gone", "late_history")
_FORCED_ERROR = {
    "type": "value_not_in_list",
    "message": "Value not in list",
    "details": "sampler_name: 'nope' not in (list of length 44)",
    "extra_info": {"input_name": "sampler_name", "input_config": None, "received_value": "nope"},
}


def post_prompt(engine: Engine, call: RecordedRequest, request: Request, body: dict[str, Any]) -> Answer:
    """Return the answer to a posted graph; the job is in the queue where it is a 200."""
    try:
        number = engine.queue.number(body)
    except (TypeError, ValueError):
        return TROUBLE
    graph = body.get("prompt")
    if graph is None:
        return json_of({"error": NO_PROMPT, "node_errors": {}}, 400)
    if not isinstance(graph, dict) or not all(isinstance(node, dict) for node in graph.values()):
        return TROUBLE
    prompt_id = _prompt_id(engine, body)
    if prompt_id is None:
        return json_of({"error": INVALID_PROMPT_ID, "node_errors": {}}, 400)
    targets = body.get("partial_execution_targets") if engine.version.has("partial targets") else None
    try:
        accepted = Validation(engine.catalog, graph, targets).run()
    except Refused as refused:
        return json_of({"error": refused.error, "node_errors": refused.node_errors}, 400)
    item = Item(
        number,
        prompt_id,
        graph,
        _extra_data(engine, request, body),
        accepted.outputs,
        _job(engine, call, graph, prompt_id),
        _fault_of(call),
    )
    engine.queue.put(item)
    node_errors = accepted.node_errors
    if call.fault is not None and call.fault.kind == "node_errors":
        node_errors = _forced_errors(graph, accepted.outputs)
    return json_of({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})


def _prompt_id(engine: Engine, body: dict[str, Any]) -> str | None:
    """Return the job's id: the client's where the release takes one, None where it is refused."""
    given = body.get("prompt_id")
    if given is None or not engine.version.has("client ids"):
        return str(uuid.uuid4())
    if engine.version.has("uuid ids") and not is_uuid(given):
        return None
    return str(given)


def _extra_data(engine: Engine, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    extra = dict(body.get("extra_data") or {})
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    if engine.version.has("create time"):
        extra["create_time"] = int(time.time() * 1000)
    source = request.headers.get("comfy-usage-source")
    if source is not None and engine.version.has("job cancel"):
        extra["comfy_usage_source"] = source
    return extra


def _job(engine: Engine, call: RecordedRequest, graph: Graph, prompt_id: str) -> Job:
    with engine.job_log.changed:
        number = len(engine.job_log.jobs) + 1
        stage = call.stage or stage_of_graph(graph)
        return Job(number, stage, stage, prompt_id, call, engine.job_log.clock.now(), call.fault)


def _fault_of(call: RecordedRequest) -> Fault | None:
    fault = call.fault
    return fault if isinstance(fault, Fault) and fault.kind in (*_OF_JOBS, *_AFTER_JOBS) else None


def _forced_errors(graph: Graph, outputs: list[str]) -> dict[str, Any]:
    node_id = next((name for name, node in graph.items() if node["class_type"] in _SAMPLERS), outputs[0])
    name = graph[node_id]["class_type"]
    return {node_id: {"errors": [_FORCED_ERROR], "dependent_outputs": outputs, "class_type": name}}


def is_uuid(text: Any) -> bool:
    """Return whether a text is a UUID in its usual form."""
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False


def stage_of_graph(graph: Graph) -> str:
    """Return the pipeline stage that a graph is: what it ends with decides, then whether it starts from a picture."""
    names = {node.get("class_type") for node in graph.values() if isinstance(node, dict)}
    if "FaceDetailer" in names:
        return "adetailer"
    loads = any(isinstance(name, str) and "LoadImage" in name for name in names)
    if names & set(_SAMPLERS):
        return "img2img" if loads else "txt2img"
    return "upscale" if loads else "txt2img"

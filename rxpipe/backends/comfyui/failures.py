"""What a server says went wrong, as typed errors: a graph that it refuses, a node that fails, memory that is full."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rxpipe.backends.comfyui.validation import described
from rxpipe.errors import BackendFailed, BackendRejected

if TYPE_CHECKING:
    from rxpipe.backends.comfyui.graph import Nodes

_MEMORY = re.compile(r"out of memory|OutOfMemory|Allocation on device|not enough memory", re.IGNORECASE)
_BROKEN_FILE = re.compile(r"safetensor|HeaderTooLarge|InvalidHeader|PytorchStreamReader|UnpicklingError", re.IGNORECASE)
_SHOWN, _SHOWN_VALUES = 300, 12


def refused_graph(answer: Any, nodes: Nodes) -> BackendRejected | None:
    """Return the error for a graph that a server refuses, or takes only in part; None where it takes all of it.

    Args:
        answer: the JSON of the answer to POST /prompt, whatever its status.
        nodes: that were posted.
    """
    if not isinstance(answer, Mapping):
        return None
    errors, error = answer.get("node_errors"), answer.get("error")
    lines = _node_lines(errors, nodes) if isinstance(errors, Mapping) else []
    if lines:
        return BackendRejected(f"ComfyUI refuses the graph: {'; '.join(lines)}.", hint=_hint(lines))
    if isinstance(error, Mapping):
        said = " ".join(str(error.get(key) or "") for key in ("message", "details")).strip()
        hint = None
        if error.get("type") in {"missing_node_type", "invalid_prompt"}:
            hint = "Install the pack that has the node (ComfyUI-Manager finds it), or leave the stage out."
        return BackendRejected(f"ComfyUI refuses the graph: {_short(said)}", hint=hint)
    return None


def _node_lines(errors: Mapping[str, Any], nodes: Nodes) -> list[str]:
    lines = []
    for node, found in errors.items():
        listed = found.get("errors") if isinstance(found, Mapping) else None
        where = described(nodes, str(node))
        lines += [f"{where}: {_problem(problem)}" for problem in listed or [{}] if isinstance(problem, Mapping)]
    return lines


def _problem(problem: Mapping[str, Any]) -> str:
    said = f"{problem.get('message') or problem.get('type') or 'refused'}: {_short(str(problem.get('details') or ''))}"
    extra = problem.get("extra_info")
    config = extra.get("input_config") if isinstance(extra, Mapping) else None
    options = config[0] if isinstance(config, list) and config else None
    if isinstance(options, list) and str(options) not in said:
        more = f" and {len(options) - _SHOWN_VALUES} more" if len(options) > _SHOWN_VALUES else ""
        said += f"; allowed: {', '.join(map(str, options[:_SHOWN_VALUES]))}{more}"
    return said.removesuffix(": ").removesuffix(".")


def _hint(lines: list[str]) -> str | None:
    if any("not in" in line for line in lines):
        return "`rxpipe doctor` lists what the server has."
    return None


def failed_node(error: Mapping[str, Any], nodes: Nodes, where: str) -> BackendFailed:
    """Return the error for a job that failed while it ran.

    Args:
        error: the data of `execution_error`.
        nodes: of the job.
        where: the server's address.
    """
    kind, message = str(error.get("exception_type") or "error"), str(error.get("exception_message") or "")
    node = described(nodes, str(error.get("node_id")))
    said = f"{node} failed: {kind}: {_short(message.strip() or '(no message)')} ({where})."
    if _MEMORY.search(f"{kind} {message}"):
        return BackendFailed(
            said,
            hint="Lower the size, the factor or the batch, or start ComfyUI with --lowvram.",
            retryable=True,  # the server unloads its models after it
        )
    if _BROKEN_FILE.search(f"{kind} {message}"):
        return BackendFailed(said, hint="The model's file is damaged or of a kind that this node does not load.")
    return BackendFailed(said, hint="The server's console says more.", retryable=True)


def _short(text: str) -> str:
    line = " ".join(text.partition("\n\n")[0].split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."

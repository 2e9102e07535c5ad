"""Tracebacks as an `execution_error` carries them: lines of the server's own files, with its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.versions import Version

_CALL = "output_data, output_ui, has_subgraph"


def traceback_of(version: Version, name: str, kind: str, message: str) -> list[str]:
    """Return the lines for an exception of a type and message in a node class."""
    asynchronous = version.has("progress state")
    call = f"{_CALL}, has_pending_tasks = await get_output_data" if asynchronous else f"{_CALL} = get_output_data"
    arguments = "(prompt_id, unique_id, obj, input_data_all)" if asynchronous else "(obj, input_data_all)"
    line = message.splitlines()[0] if message else ""
    file = '  File "<COMFYUI>/execution.py", line'
    return [
        f"{file} 545, in execute\n    {call}{arguments}\n{' ' * (len(call) + 4)}{'^' * len(arguments)}\n",
        f"{file} 344, in get_output_data\n    return_values = map_node_over_list(obj, input_data_all)\n",
        f"{file} 306, in process_inputs\n    result = f(**inputs)\n             ^^^^^^^^^^^\n",
        f'  File "<COMFYUI>/nodes.py", line 1, in {name}\n    raise {kind}("{line}")\n',
    ]

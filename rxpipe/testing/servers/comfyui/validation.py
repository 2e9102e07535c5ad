"""What POST /prompt refuses: the real server's checks in their order, with its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.catalog import Catalog

Graph = dict[str, Any]
"""Node id to `class_type` and `inputs`; a link is [node id, slot]."""

_SHOWN_OPTIONS = 20  # a longer list is given by its length
_LINK_LENGTH = 2
_CONVERT = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_FILE_INPUTS = {"LoadImage": "image", "LoadImageMask": "image"}
_LINES = {"0.3.40": (712, 693, 640), "0.3.64": (808, 788, 730), "0.33.0": (955, 933, 870)}


class Refused(Exception):
    """A graph that does not run: the `error` of the 400 and its `node_errors`."""

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(error["message"])
        self.error = error
        self.node_errors = node_errors or {}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A graph that runs: the output nodes that do, and what is wrong with the branches that do not."""

    outputs: list[str]
    node_errors: dict[str, Any]


@dataclass(slots=True)
class _Problem(Exception):
    """An exception inside a check, as Python would raise it there."""

    kind: str
    text: str
    where: int  # which line of the server's traceback


@dataclass(slots=True)
class Validation:
    """One look at one graph. Converts literals in it to their types, as the real server does."""

    catalog: Catalog
    graph: Graph
    targets: list[str] | None = None
    _results: dict[str, tuple[bool, list[dict[str, Any]]]] = field(default_factory=dict)
    _visiting: list[str] = field(default_factory=list)

    def run(self) -> Accepted:
        """Return which outputs run. Raises Refused where none does."""
        outputs = self._outputs()
        if not outputs:
            raise Refused(_error("prompt_no_outputs", "Prompt has no outputs"))
        good: list[str] = []
        reasons: list[str] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            valid, errors = self._checked_output(output)
            if valid:
                good.append(output)
                continue
            reasons += [f"{error['message']}: {error['details']}" for error in errors]
            self._collect(output, node_errors)
        if good:
            return Accepted(good, node_errors)
        failed = "Prompt outputs failed validation"
        raise Refused(_error("prompt_outputs_failed_validation", failed, "\n".join(reasons)), node_errors)

    def _outputs(self) -> list[str]:
        """Return the output nodes that are asked for. Raises Refused for a class that does not exist."""
        outputs = []
        for node_id, node in self.graph.items():
            name = node.get("class_type")
            info = self.catalog.info(name) if isinstance(name, str) else None
            if info is None:
                raise Refused(self._missing_class(node_id, node))
            if info["output_node"] and (self.targets is None or node_id in self.targets):
                outputs.append(node_id)
        return outputs

    def _missing_class(self, node_id: str, node: dict[str, Any]) -> dict[str, Any]:
        name = node.get("class_type")
        where = f"Node ID '#{node_id}'"
        if not self.catalog.version.has("missing node type"):
            text = (
                "Cannot execute because a node is missing the class_type property."
                if "class_type" not in node
                else f"Cannot execute because node {name} does not exist."
            )
            return _error("invalid_prompt", text, where)
        title = (node.get("_meta") or {}).get("title", name)
        text = (
            f"Node 'ID #{node_id}' has no class_type. The workflow may be corrupted or a custom node is missing."
            if "class_type" not in node
            else f"Node '{title}' not found. The custom node may not be installed."
        )
        return _error("missing_node_type", text, where, node_id=node_id, class_type=name, node_title=title)

    def _checked_output(self, output: str) -> tuple[bool, list[dict[str, Any]]]:
        try:
            return self._check(output)
        except _Problem as problem:
            errors = []
            if problem.kind != "RecursionError":  # which an old server only logs
                extra = {"exception_type": problem.kind, "traceback": self._traceback(problem)}
                text = "Exception when validating node"
                errors = [_entry("exception_during_validation", text, problem.text, extra)]
            self._results[output] = (False, errors)
            return False, errors

    def _collect(self, output: str, node_errors: dict[str, Any]) -> None:
        """Add what is wrong with the nodes above an output, those checked for another one included."""
        for node_id, (valid, errors) in self._results.items():
            if valid or not errors:
                continue
            shown = node_errors.setdefault(
                node_id,
                {"errors": errors, "dependent_outputs": [], "class_type": self.graph[node_id]["class_type"]},
            )
            shown["dependent_outputs"].append(output)

    # -- one node -----------------------------------------------------------------------------------------------------

    def _check(self, node_id: str) -> tuple[bool, list[dict[str, Any]]]:
        if node_id in self._results:
            return self._results[node_id]
        if node_id in self._visiting:
            self._note_cycle(node_id)
            return False, []
        self._visiting.append(node_id)
        try:
            result = self._checked(node_id)
        finally:
            self._visiting.remove(node_id)
        return self._results.setdefault(node_id, result)

    def _checked(self, node_id: str) -> tuple[bool, list[dict[str, Any]]]:
        node = self.graph[node_id]
        if "inputs" not in node:
            raise _Problem("KeyError", "'inputs'", 2)
        info = self.catalog.info(node["class_type"]) or {}
        errors: list[dict[str, Any]] = []
        valid = True
        for group in ("required", "optional"):
            for name, spec in info["input"].get(group, {}).items():
                declared = [spec[0], spec[1] if len(spec) > 1 else {}]
                if name not in node["inputs"]:
                    if group == "required":
                        extra = {"input_name": name}
                        errors.append(_entry("required_input_missing", "Required input is missing", name, extra))
                    continue
                value = node["inputs"][name]
                if isinstance(value, list):
                    error, sound = self._check_link(name, declared, value)
                    valid = valid and sound
                else:
                    error = self._check_literal(node, name, declared)
                errors += [error] if error else []
        errors += self._check_file(node)
        return valid and not errors, errors

    def _check_link(self, name: str, declared: list[Any], value: list[Any]) -> tuple[dict[str, Any] | None, bool]:
        """Return what is wrong with a link, and whether what it links to is sound."""
        extra: dict[str, Any] = {"input_name": name, "input_config": declared}
        if len(value) != _LINK_LENGTH:
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _entry("bad_linked_input", text, name, {**extra, "received_value": value}), True
        source, slot = value
        if not isinstance(source, str) or source not in self.graph:
            raise _Problem("KeyError", repr(source), 1)
        delivers = (self.catalog.info(self.graph[source]["class_type"]) or {})["output"]
        if not isinstance(slot, int) or not -len(delivers) <= slot < len(delivers):
            raise _Problem("IndexError", "tuple index out of range", 3)
        if not _fits(delivers[slot], declared[0]):
            text = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({delivers[slot]}) mismatch input_type({declared[0]})"
            extra |= {"received_type": delivers[slot], "linked_node": value}
            return _entry("return_type_mismatch", text, details, extra), True
        try:
            sound, _ = self._check(source)
        except _Problem as problem:
            if problem.kind == "RecursionError":
                raise
            extra |= {
                "exception_message": problem.text,
                "exception_type": problem.kind,
                "traceback": self._traceback(problem),
                "linked_node": value,
            }
            text = "Exception when validating inner node"
            self._results[source] = (False, [_entry("exception_during_inner_validation", text, problem.text, extra)])
            sound = False
        return None, sound

    def _check_literal(self, node: dict[str, Any], name: str, declared: list[Any]) -> dict[str, Any] | None:
        kind, options = declared
        value = node["inputs"][name]
        value = value["__value__"] if isinstance(value, dict) and "__value__" in value else value
        extra: dict[str, Any] = {"input_name": name, "input_config": declared, "received_value": value}
        if isinstance(kind, str) and kind in _CONVERT:
            try:
                value = node["inputs"][name] = _CONVERT[kind](value)
            except (ValueError, TypeError) as error:
                text = f"Failed to convert an input value to a {kind} value"
                details = f"{name}, {value}, {error}"
                return _entry("invalid_input_type", text, details, {**extra, "exception_message": str(error)})
        extra["received_value"] = value
        if "min" in options and value < options["min"]:
            text = f"Value {value} smaller than min of {options['min']}"
            return _entry("value_smaller_than_min", text, name, extra)
        if "max" in options and value > options["max"]:
            text = f"Value {value} bigger than max of {options['max']}"
            return _entry("value_bigger_than_max", text, name, extra)
        listed = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
        if listed is None or value in listed or _FILE_INPUTS.get(node["class_type"]) == name:
            return None
        many = len(listed) > _SHOWN_OPTIONS
        shown = f"(list of length {len(listed)})" if many else str(listed)
        extra["input_config"] = None if many else declared
        return _entry("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", extra)

    def _check_file(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what the class's own check says: whether the file of a LoadImage is there."""
        name = _FILE_INPUTS.get(node["class_type"])
        value = node["inputs"].get(name) if name else None
        if name is None or not isinstance(value, str) or self.catalog.files.find(value) is not None:
            return []
        details = f"{name} - Invalid image file: {value}"
        text = "Custom validation failed for node"
        return [_entry("custom_validation_failed", text, details, {"input_name": name})]

    # -- cycles -------------------------------------------------------------------------------------------------------

    def _note_cycle(self, node_id: str) -> None:
        """Record a cycle that leads back to a node; an old server runs into its recursion limit instead."""
        if not self.catalog.version.has("named cycles"):
            raise _Problem("RecursionError", "maximum recursion depth exceeded", 0)
        nodes = self._visiting[self._visiting.index(node_id) :]
        path = " -> ".join(f"{one} ({self.graph[one]['class_type']})" for one in (*nodes, node_id))
        for one in nodes:
            extra = {"node_id": one, "cycle_nodes": nodes}
            self._results[one] = (False, [_entry("dependency_cycle", "Dependency cycle detected", path, extra)])

    def _traceback(self, problem: _Problem) -> list[str]:
        """Return lines such as the real server's, which hold its paths."""
        recorded = self.catalog.version.recorded["system_stats"]["system"]["comfyui_version"]
        inner, looked_up, inputs = _LINES[recorded]
        visiting = ", visiting" if self.catalog.version.has("named cycles") else ""
        call = f"r = await validate_inputs(prompt_id, prompt, o_id, validated{visiting})"
        line, code, marks = {
            1: (looked_up, "o_class_type = prompt[o_id]['class_type']", " " * 15 + "~~~~~~^^^^^^"),
            2: (inputs, "inputs = prompt[unique_id]['inputs']", " " * 9 + "~" * 17 + "^" * 10),
            3: (looked_up + 2, "received_type = r[val[1]]", " " * 16 + "~^^^^^^^^"),
        }[problem.where]
        file = '  File "<COMFYUI>/execution.py", line'
        name = "in validate_inputs"
        return [
            f"{file} {inner}, {name}\n    {call}\n        {'^' * (len(call) - 4)}\n",
            f"{file} {line}, {name}\n    {code}\n    {marks}\n",
        ]


def _fits(delivered: str, declared: Any) -> bool:
    """Return whether a link of one type may go into an input of another; a list takes what delivers one."""
    if not isinstance(declared, str) or not isinstance(delivered, str):
        return delivered == declared or isinstance(declared, list)
    if "*" in (delivered, declared) or "COMFY_MATCHTYPE_V3" in (delivered, declared):
        return True
    return set(delivered.split(",")) <= set(declared.split(","))


def _entry(kind: str, message: str, details: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _error(kind: str, message: str, details: str = "", **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


NO_PROMPT = _error("no_prompt", "No prompt provided", "No prompt provided")
INVALID_PROMPT_ID = _error(
    "invalid_prompt_id",
    "prompt_id must be a valid UUID",
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one",
)

"""Print a tree in numbers: `python tests/benchmarks/bench_code.py [TREE]`, this repository if none is named.

For comparing before and after a change of structure, so nothing here is held against an aim.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from pathlib import Path

LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}
RUN = 6

NAMES = """
_Told -                   Told StageOutput          _told -                  _told_problems _print_problems
_told_to_all _mark_done   _told_the_end _saw_end    told message             Wish RunOptions/SceneSpec
_wish _read_config        _wanted _pending_config   _wished _recorded_settings _wishes _name_references
_own_wishes -             _UNIT_WISHES -            Entry Cell/CatalogItem   Drawing RenderRequest/MarblePicture
_Drawing _RenderTask      _drawing _render          Call RenderCall/RecordedRequest Sent InFlightRequest
_Sent _PicklableRecord    _Asked _StopRequested     Orders AdetailerArgs     _place _coalesce_key
place index               _take _dispatch           _hand_over _post_to_scheduler _hand_on _emit_later
_broken _on_worker_error  lost abandoned            Line Connection          Lines ConnectionPool
give_back release         hang_up abort             is_hung_up aborted       Reply Response
_bare _without_frames     _shut _shutdown_socket    _innermost _root_cause_text Means CallServices
Times Timeouts            Flights InFlightCalls     Workers WorkerPool       Stops Interrupter
_Stop _Interrupt          within_grace interrupt    afterwards wait_until_gone Watch JobTracker
judge owner_of            Verdict JobOwner          Reader ProgressClient    Reading ProgressSnapshot
_Spare _BatchLeftovers    Used ActualSettings       Known Catalog            near nearest
Choice BackendSpec        _named _from_text         _running _probe_local    saves_beside overlap_saves
settle wait_idle          settle_s idle_timeout_s   _Settling -              drain_s idle_timeout_s
Rendering RenderEvent     narrowed for_image        StageRun StageTracker    in_hand in_flight
untold unaccounted        unfinished next_index     all_arrived source_ended image_left -
gave_up -                 StageStopped StageAborted _drawn_up _backend_done  _go_on _emit
_strange _unexpected_type _unwanted _is_cancelled   _Alone _StandaloneRun    _Passage _OperatorTracker
_persistent _with_retry_and_timeout counted count_inputs ended emit_stage_end typed as_rxpipe_error
_deciding _state_lock     _starting _start_lock     _folding _result_lock    _changing _observers_lock
_draining _drain_lock     _warn_of_the_deaf _warn_if_blocking deaf ignores_dispose _tidy _delete_intermediate_files
_keep _remember_artifact  _announce _emit_run_start _sayable _utf8_safe      Turn Slot
let_next free             in_order -                holds occupied           at_once slots
_Waiting _Waiter          _drop cancel_all_of       after_all call_when_drained delivering_here is_delivering_here
_News _Message            _Heard _EventSeen         _Seen _PreviewSeen       _Started _RunStarted
_Refused _StartFailed     _Paced _Throttled         _carry_out _run_intent   _heard _on_signal
asked requested           errors_in_words report_errors write_what_fits escape_unencodable close_quietly flush_stdout
_ground _base_values      _tell_drawing _assign_options Fate VariantOutcome  _fate_of_the_rest _outcome_of_unseen
Variant ImageResult       RunStatusName RunOutcome  noted with_metadata      after with_lineage
stored_at with_path       _Said _Parsed             _understand _parse       recall config_from_picture
Memory WindowState        Wall Gallery              Light StatusLight        Tip Tooltip
BackendLink BackendConnection Seen Recorded         Host Clock               Hit Interrupt
Hold JobGate              Ledger RequestLog         Sheet Canvas             Given InputImage
Drawn PaintResult
"""
"""Discouraged names, each with the preferred one ("-" where it should go)."""

PROSE = {
    "told": "reported", "tells": "emits", "wished": "config", "amounts to": "result", "who draws": "renders",
    "in work": "in progress", "left the stage": "finished the stage", "goes on": "continues", "for who": "if you",
    "whoever": "the caller", "who asks": "the caller", "somebody": "a thread that", "nobody": "no",
    "a stranger": "user code", "tried again": "retried", "given up": "abandoned", "heard of": "notified",
    "by now": "so far", "beside": "next to", "in turn": "in order", "at once": "immediately",
    "taken for": "read as", "none the worse": "unaffected", "comes to": "results in", "goes about": "-",
}  # fmt: skip
"""Discouraged words of docstrings, comments, messages and the README, each with the preferred one."""


def sources(tree: Path, folder: str) -> dict[Path, str]:
    paths = sorted((tree / folder).rglob("*.py"))
    return {path: path.read_text(encoding="utf-8") for path in paths}


def function_lines(modules: list[ast.Module]) -> list[int]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return sorted((f.end_lineno or 0) - f.lineno + 1 for m in modules for f in ast.walk(m) if isinstance(f, kinds))


def locks(modules: list[ast.Module]) -> int:
    calls = [node.func for module in modules for node in ast.walk(module) if isinstance(node, ast.Call)]
    return sum(isinstance(f, ast.Attribute) and f.attr in LOCKS and ast.unparse(f.value) == "threading" for f in calls)


def imports(module: ast.Module, known: set[str], *, for_types: bool) -> set[str]:
    """What a module of ours imports of ours when it is loaded; with *for_types* also under TYPE_CHECKING."""
    found, waiting = set(), list(module.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            waiting += node.orelse
        elif isinstance(node, ast.If | ast.Try):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            waiting += (new := graph[waiting.pop()] - seen)
            seen |= new
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return [list(group) for group in sorted(groups) if group]


def widths(modules: list[ast.Module]) -> Counter[str]:
    """Fields of each class: annotated in its body, or set on self."""
    found: Counter[str] = Counter()
    for node in (node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)):
        fields = {ast.unparse(stmt.target) for stmt in node.body if isinstance(stmt, ast.AnnAssign)}
        stores = (a for a in ast.walk(node) if isinstance(a, ast.Attribute) and isinstance(a.ctx, ast.Store))
        found[node.name] = len(fields | {a.attr for a in stores if ast.unparse(a.value) == "self"})
    return found


def repeated(texts: list[str]) -> int:
    """How many runs of at least RUN equal lines stand somewhere else already; blank lines and imports do not count."""
    seen: set[tuple[str, ...]] = set()
    runs = 0
    for text in texts:
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith(("import ", "from ", "#"))]
        inside = False
        for start in range(len(lines) - RUN + 1):
            window, before = tuple(lines[start : start + RUN]), inside
            inside = window in seen
            runs += inside and not before
            seen.add(window)
    return runs


def names(modules: list[ast.Module]) -> Counter[str]:
    """Every name that is given: to a class, a function, a parameter, a variable, an attribute."""
    found: Counter[str] = Counter()
    for node in (node for module in modules for node in ast.walk(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] += 1
        elif isinstance(node, ast.arg):
            found[node.arg] += 1
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found[node.id if isinstance(node, ast.Name) else node.attr] += 1
    return found


def prose(text: str) -> str:
    """Comments and strings of a source."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return "\n".join(t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type in kinds)


def main(tree: Path) -> None:
    def say(what: str, value: object) -> None:
        print(f"{what:52} {value}")

    package, tests = sources(tree, "rxpipe"), sources(tree, "tests")
    parsed = {path: ast.parse(text) for path, text in package.items()}
    for name, files in (("rxpipe", package), ("tests", tests)):
        say(f"{name}: files, lines", f"{len(files)}, {sum(text.count(chr(10)) for text in files.values())}")
        sizes = function_lines([ast.parse(text) for text in files.values()])
        p90 = statistics.quantiles(sizes, n=10)[-1]
        say(f"{name}: lines of a function, median, p90, max", f"{statistics.median(sizes):g}, {p90:g}, {sizes[-1]}")
        say(f"{name}: repeated runs of {RUN} or more lines", repeated(list(files.values())))
    outside = [module for path, module in parsed.items() if "testing" not in path.parts]
    say("locks, events, conditions outside rxpipe.testing", locks(outside))
    dotted = {path: ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__") for path in parsed}
    for label, for_types in (("when loaded", False), ("with TYPE_CHECKING", True)):
        graph = {dotted[p]: imports(module, {*dotted.values()}, for_types=for_types) for p, module in parsed.items()}
        groups = "; ".join(" - ".join(group) for group in cycles(graph))
        say(f"import cycles, {label}", groups or 0)
    widest = widths(list(parsed.values())).most_common(5)
    say("widest classes, by fields", ", ".join(f"{name} {count}" for name, count in widest))
    words = NAMES.split()
    given, old = names(list(parsed.values())), dict(zip(words[::2], words[1::2], strict=True))
    left = Counter({name: given[name] for name in old if given[name]})
    readme = (tree / "README.md").read_text(encoding="utf-8")
    text = "\n".join([readme, *map(prose, package.values())]).lower()
    spoken = Counter({word: len(re.findall(rf"\b{word}\b", re.sub(r"\s+", " ", text))) for word in PROSE})
    for label, found, better in (("names", left, old), ("prose", spoken, PROSE)):
        shown = ", ".join(f"{word} {count} ({better[word]})" for word, count in found.most_common(8) if count)
        say(f"discouraged words in {label}", f"{sum(found.values())}: {shown}")
    say("README lines", readme.count("\n"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve())

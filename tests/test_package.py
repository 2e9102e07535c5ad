"""The package as its users meet it: light to import, silent, and every public name where the design says."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rxpipe

HEAVY = ("tkinter", "PySide6", "PyQt6", "IPython", "ipywidgets", "numpy", "skimage", "requests", "PIL", "typer", "rich")

RELIED_ON = [
    "PipelineConfig",
    "Txt2ImgConfig",
    "Img2ImgConfig",
    "AdetailerConfig",
    "UpscaleConfig",
    "StageType",
    "StageExecution",
    "StageExecutionPlan",
    "build_stage_execution_plan",
    "StageEvent",
    "RunStart",
    "StageStart",
    "StageStep",
    "StageImageProgress",
    "StageRetry",
    "StageEnd",
    "StageFailed",
    "StageCancelled",
    "RunEnd",
    "PipelineRunResult",
    "reduce",
    "PipelineExecutor",
    "PipelineRunner",
    "PipelineController",
    "LearningRecordWriter",
    "open_backend",
    "chain",
    "txt2img",
    "img2img",
    "adetailer",
    "upscale",
    "image_stage",
]

NOT_THE_PIPELINE = {"cli", "views", "testing", "__main__"}
"""Faces of the package, which may load what they show with."""


def fresh(code, **environment):
    """What *code* prints in an interpreter of its own, without the plugins of this test run."""
    run = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": "", **environment},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


def loaded_after(code):
    """Which of the heavy packages *code* loads."""
    return fresh(f"{code}\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])").split()


def pipeline_modules():
    """All modules of the pipeline: everything but its faces and the adapters."""
    root = Path(rxpipe.__file__).parent
    names = [".".join(("rxpipe", *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")]
    names = [name.removesuffix(".__init__") for name in names]
    names_of_adapters = ("sketch", "webui", "comfyui", "dask", "diffusers", "http")
    adapters = tuple(f"rxpipe.backends.{name}" for name in names_of_adapters)
    return sorted(
        name for name in names
        if not (set(name.split(".")[1:2]) & NOT_THE_PIPELINE or name.startswith(adapters))
    )  # fmt: skip


def test_importing_rxpipe_loads_nothing_heavy():
    """Statement 40, in a fresh interpreter: no GUI toolkit, no HTTP, no arrays."""
    assert loaded_after("import rxpipe") == []


def test_no_module_of_the_pipeline_loads_a_gui_toolkit_or_arrays():
    """Statement 40, for all of them; who is to blame is told."""
    code = (
        "import importlib, sys\n"
        f"for module in {pipeline_modules()!r}:\n"
        "    importlib.import_module(module)\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    if loaded: print(module, 'loads', *loaded); break"
    )
    assert fresh(code) == ""
    assert {"rxpipe.plan", "rxpipe.chains", "rxpipe.runner", "rxpipe.sinks.learning"} <= set(pipeline_modules())


def test_asking_for_every_public_name_loads_nothing_heavy():
    """Nor do the names themselves."""
    assert loaded_after("import rxpipe\nfor name in rxpipe.__all__: getattr(rxpipe, name)") == []


@pytest.mark.slow
def test_planning_and_folding_load_nothing_heavy():
    """Pure work stays light: a config, a chain and a result."""
    code = (
        "import rxpipe as rxp\n"
        "plan = rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(), upscale={}))\n"
        "rxp.chain(rxp.txt2img(), rxp.upscale()); rxp.PipelineRunResult(plan); rxp.RunStatus()"
    )
    assert loaded_after(code) == []


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rxpipe.__all__)
def test_every_public_name_resolves(name):
    """And is listed where `dir()` finds it."""
    assert getattr(rxpipe, name) is not None
    assert name in dir(rxpipe)


@pytest.mark.parametrize("name", RELIED_ON)
def test_a_name_that_the_outside_relies_on_is_there(name):
    """Those of the design."""
    assert name in rxpipe.__all__


def test_public_names_are_sorted_and_the_stub_gives_out_exactly_these():
    """What type checkers see is what the interpreter has."""
    stub = ast.parse(Path(rxpipe.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    given = [
        alias.asname or alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert list(rxpipe.__all__) == sorted(set(rxpipe.__all__)) == sorted(given)


def test_every_public_name_has_a_docstring():
    """Unions and aliases have theirs in their module."""
    bare = [
        name for name in rxpipe.__all__
        if (isinstance(given := getattr(rxpipe, name), type) or hasattr(given, "__code__")) and not given.__doc__
    ]  # fmt: skip
    assert bare == []


def test_an_unknown_name_is_an_ordinary_error():
    """With the name in it, and `hasattr` as everywhere."""
    with pytest.raises(AttributeError, match="Txt2ImgConfg"):
        _ = rxpipe.Txt2ImgConfg
    assert not hasattr(rxpipe, "Txt2ImgConfg")


# -- names of modules --------------------------------------------------------------------------------------------------


def test_no_module_shares_its_name_with_a_public_function():
    """Importing a submodule binds it on its package, where it would take the function's place."""
    modules = {module.name for module in pkgutil.iter_modules(rxpipe.__path__)}
    assert not modules & set(rxpipe.__all__)
    assert fresh("import rxpipe.chains, rxpipe; print(rxpipe.chain.__name__, rxpipe.chains.__name__)") == (
        "chain rxpipe.chains"
    )


@pytest.mark.slow
def test_loading_all_names_eagerly_works_too():
    """As lazy_loader does on request, and as people do to find import errors."""
    assert fresh("import rxpipe; print(rxpipe.chain.__name__)", EAGER_IMPORT="1") == "chain"


# -- silence ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_importing_says_nothing():
    """Not on stdout, not on stderr, no warning even where warnings are errors."""
    assert fresh("import rxpipe; [getattr(rxpipe, name) for name in rxpipe.__all__]") == ""


def test_the_log_is_off_until_it_is_enabled():
    """As libraries should be."""
    code = (
        "import sys; from loguru import logger; logger.remove(); logger.add(sys.stdout, format='{message}')\n"
        "import rxpipe; from rxpipe.sinks.log import log_events; from rxpipe.rx.subject import EventSubject\n"
        "from datetime import datetime, UTC\n"
        "def tell(name):\n"
        "    subject = EventSubject(); log_events(subject.observable)\n"
        "    subject.on_next(rxpipe.RunEnd(run_id=name, seq=0, timestamp=datetime.now(UTC), status='completed'))\n"
        "tell('first'); logger.enable('rxpipe'); tell('second')"
    )
    assert fresh(code) == "run second completed"


def test_the_package_says_that_it_is_typed():
    """py.typed lies beside the stub."""
    root = Path(rxpipe.__file__).parent
    assert (root / "py.typed").is_file()
    assert (root / "__init__.pyi").is_file()


def test_the_oldest_allowed_versions_are_the_ones_that_are_tested():
    """`.ci/versions` installs what `.ci/oldest.txt` holds."""
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["sketch"]]
    allowed = dict(re.match(r"([\w-]+)>=([\d.]+)", words).groups() for words in wanted)
    lines = (root / ".ci" / "oldest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert tested.keys() == allowed.keys()
    for name, version in tested.items():
        assert re.fullmatch(rf"{re.escape(allowed[name])}(\.0)*", version), name

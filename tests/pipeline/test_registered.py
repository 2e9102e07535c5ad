"""Stages by name: from a package that was installed, from TOML, on the command line, in a resumed run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from instant import Instant

import rxpipe as rxp
from rxpipe.stages.registry import registered

PACKAGE = '''
from typing import Annotated
from pydantic import Field
import rxpipe as rxp

@rxp.image_stage
def tinted(artifact: rxp.Artifact, by: Annotated[int, Field(ge=0, le=255)] = 1):
    """Every pixel lighter."""
    return artifact.to_image().point(lambda level: level + by)

def best(count: int) -> rxp.Stage:
    """The sharpest."""
    return rxp.keep_best(count, by=rxp.sharpness)

broken = 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package, as pip leaves it: its code, and its entry points beside it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "tintpack.py").write_text(PACKAGE)
    info = site / "tintpack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tintpack\nVersion: 1.0\n")
    points = "tinted = tintpack:tinted\nbest = tintpack:best\nbroken = tintpack:broken\ngone = nowhere:x\n"
    (info / "entry_points.txt").write_text(f"[rxpipe.stages]\n{points}")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("tintpack", None)


TOML = """
out = "out"
[txt2img]
prompt = "a"
images = 3
seed = 10
[upscale]
scale = 2
[custom.lighter]
stage = "tinted"
after = "txt2img"
by = 5
[custom.best]
after = "lighter"
count = 2
"""


@pytest.mark.usefixtures("package")
def test_a_stage_of_an_installed_package_runs_from_toml(tmp_path, monkeypatch):
    """In its place, with its settings checked and recorded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(TOML)
    config = rxp.PipelineConfig.load(tmp_path / "run.toml")
    result = rxp.PipelineRunner(Instant()).run(config)
    assert result.plan.stage_types == ("txt2img", "lighter", "best", "upscale")
    assert (result.status, len(result.finished)) == ("completed", 2)
    assert [result.artifact(r).to_image().getpixel((0, 0)) for r in result.stage_images("lighter")] == [15, 16, 17]
    assert result.plan.stages[1].config.settings == {"by": 5}


@pytest.mark.usefixtures("package")
def test_a_run_with_registered_stages_is_resumed_without_its_chain(tmp_path, monkeypatch):
    """The package has their code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(TOML)
    executor = rxp.PipelineExecutor(Instant(), store=tmp_path / "s.sqlite3")
    runner = rxp.PipelineRunner(executor)
    first = runner.run(rxp.PipelineConfig.load(tmp_path / "run.toml"))
    executor.store.flush()
    again = runner.resume(first.run_id)
    assert again.status == "completed"
    assert all(record.resumed for record in again.records if record.stage_type != "best")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({"tintd": {}}, "there is no stage 'tintd'; did you mean 'tinted'?"),
        ({"tinted": {"by": 300}}, "tinted.by: got 300; input should be less than or equal to 255"),
        ({"tinted": {"bye": 3}}, "unexpected keyword argument 'bye'"),
        ({"broken": {}}, "tintpack:broken makes no stage"),
        ({"gone": {}}, "nowhere:x cannot be loaded: No module named 'nowhere'"),
        ({"tinted": {"after": "upscal"}}, "follows 'upscal', and the stages before it are txt2img"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(custom, words):
    """By its place in the file."""
    config = rxp.PipelineConfig(txt2img={"prompt": "a"}, custom=custom)
    with pytest.raises((rxp.ConfigError, rxp.PlanError)) as caught:
        rxp.build_chain(config)
    assert words in str(caught.value)
    assert "custom." in str(caught.value)


def test_ready_made_ones_are_registered_too():
    """By their own names."""
    chain = rxp.build_chain(
        rxp.PipelineConfig(txt2img={"prompt": "a"}, custom={"small": {"stage": "resize", "width": 8}})
    )
    assert chain.plan.stages[1].config.settings == {"width": 8}
    assert {"resize", "crop", "border", "watermark", "save_as", "grid", "gate"} <= registered().keys()


@pytest.mark.slow
def test_the_command_line_lists_them(package, tmp_path):
    """With the package that they come from, and one with what it takes."""
    env = {"PYTHONPATH": f"{package}:{':'.join(sys.path)}", "PATH": "", "HOME": str(tmp_path)}
    shown = subprocess.run(  # our words
        [sys.executable, "-m", "rxpipe", "stages"], capture_output=True, text=True, check=True, env=env
    ).stdout
    assert "tinted (tintpack)" in shown
    assert "watermark" in shown

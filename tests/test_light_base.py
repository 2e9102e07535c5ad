"""Without any extra: servers, pictures and the marble kit work, and what is missing is named with its command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.testing.matchers import close_to

OPTIONAL = (
    "numpy",
    "scipy",
    "skimage",
    "hypothesis",
    "PySide6",
    "PyQt6",
    "IPython",
    "ipykernel",
    "nbformat",
    "nbclient",
)
A_PICTURE = Path(__file__).parent / "data" / "a1111-img2img.png"

BLOCKER = f'''
import sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    """Nothing of the extras is installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
'''


@pytest.fixture
def base(tmp_path):
    """Runs code, or a module with arguments, where no extra is installed and no backend is named or running."""

    def run(*arguments, code=None):
        (tmp_path / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
        command = [sys.executable, *(["-c", code] if code else arguments)]
        path = os.pathsep.join([str(tmp_path), str(Path(rxp.__file__).parent.parent)])
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RXPIPE", "PYTEST"))},
            "PYTHONPATH": path, "RXPIPE_CONFIG": str(tmp_path / "none.toml"), "COLUMNS": "200",
        }  # fmt: skip
        return subprocess.run(  # noqa: S603  our own words
            command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=tmp_path
        )

    return run


def printed(run):
    assert run.returncode == 0, run.stderr + run.stdout
    return run.stdout.strip()


def last_line(run):
    """The error that ended a program."""
    assert run.returncode != 0
    return run.stderr.strip().splitlines()[-1]


# -- what works -------------------------------------------------------------------------------------------------------


def test_nothing_optional_can_be_imported_there(base):
    """The fixture does what it says."""
    assert "No module named 'numpy'" in last_line(base(code="import numpy"))


@pytest.mark.slow
def test_a_server_draws(base):
    """All four stages over HTTP, with an operator that looks at pixels; the server's pictures are noise."""
    code = """
import rxpipe as rxp
from rxpipe.testing import WebUIServer

with WebUIServer() as server:
    chain = rxp.chain(
        rxp.txt2img(prompt="a pier", images=2, width=64, height=64), rxp.keep_best(1, by=rxp.sharpness),
        rxp.img2img(), rxp.adetailer(), rxp.upscale(scale=2),
    )
    result = rxp.PipelineRunner(rxp.open_backend(server.url)).run(chain)
    print(result.status, result.artifact(result.stage_images("upscale")[0]).to_image().size)
"""
    assert printed(base(code=code)) == "completed (128, 128)"


@pytest.mark.slow
def test_the_command_reads_pictures_looks_at_servers_and_lists_stages(base):
    """`info`, `doctor`, `stages` and a dry run."""
    assert "steps" in printed(base("-m", "rxpipe", "info", str(A_PICTURE))).lower()
    assert "denoising_strength" in printed(base("-m", "rxpipe", "stages"))
    assert "upscale" in printed(base("-m", "rxpipe", "run", "--dry-run"))


@pytest.mark.slow
def test_the_pytest_plugin_and_the_marble_kit_work(base, tmp_path):
    """A test of a stream and one of a run, with numbers and pictures compared by tolerance."""
    (tmp_path / "test_there.py").write_text(
        """
from PIL import Image
from reactivex import operators as ops
import rxpipe as rxp
from rxpipe.testing import close_to, laws

def test_a_stream(marbles):
    image = Image.new("RGB", (2, 2), (9, 9, 9))
    near = Image.new("RGB", (2, 2), (10, 8, 9))
    stream = marbles.cold("-a-b|", {"a": 0.1 + 0.2, "b": near}).pipe(ops.delay(0.001))
    marbles.expect(stream).to_be("--a-b|", {"a": close_to(0.3), "b": close_to(image, 1)})

def test_a_run(marbles):
    run = marbles.run(rxp.chain(rxp.txt2img(images=2), rxp.upscale()), backend={"upscale": "-s-o|"})
    assert run.status == "completed"
    laws.check(run)
""",
        encoding="utf-8",
    )
    run = base(
        "-m",
        "pytest",
        "-q",
        *[f"-pno:{name}" for name in ("cacheprovider", "xdist", "hypothesispytest")],
        "test_there.py",
    )
    assert "2 passed" in printed(run)


# -- what is missing --------------------------------------------------------------------------------------------------

SKETCH = 'needs numpy and scikit-image, which are not installed. Run: pip install "rxpipe[sketch]"'


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import rxpipe; rxpipe.open_backend(ports=(1, 2))",
            (f"The embedded backend (no WebUI with its API answers on 127.0.0.1:1-2, "
            f"no ComfyUI answers on 127.0.0.1:1-2) {SKETCH}"),
        ),
        ("import rxpipe; rxpipe.open_backend('sketch')", f"The embedded backend (as asked for) {SKETCH}"),
        ("import rxpipe.backends.sketch", f"The embedded backend {SKETCH}"),
        ("from rxpipe.testing import WebUIServer; WebUIServer(draw='sketch')", f'A server with draw="sketch" {SKETCH}'),
        (
            f"from rxpipe.artifact import Artifact; Artifact.open({str(A_PICTURE)!r}).to_array()",
            'Artifact.to_array() needs numpy, which is not installed. Run: pip install "rxpipe[sketch]"',
        ),
        (
            "import rxpipe.testing.strategies",
            'rxpipe.testing.strategies needs hypothesis, which is not installed. Run: pip install "rxpipe[test]"',
        ),
        (
            "import rxpipe.views.qt",
            'rxpipe.views.qt needs PySide6, which is not installed. Run: pip install "rxpipe[qt]"',
        ),
        (
            "import rxpipe.views.notebook",
            'rxpipe.views.notebook needs IPython, which is not installed. Run: pip install "rxpipe[notebook]"',
        ),
    ],
    ids=["automatic", "named", "imported", "server", "array", "strategies", "qt", "notebook"],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_missing_is_named_with_the_command_that_installs_it(base, code, message):
    """As an error of rxpipe that is an ImportError too."""
    assert last_line(base(code=code)) == f"rxpipe.errors.MissingPackage: {message}"


@pytest.mark.slow
def test_the_command_line_says_so_in_one_line(base):
    """No traceback; `doctor` does not promise a backend that cannot be opened."""
    run = base("-m", "rxpipe", "run", "--backend", "sketch")
    assert (run.returncode, run.stderr.strip()) == (1, f"rxpipe: The embedded backend (as asked for) {SKETCH}")
    looked = base("-m", "rxpipe", "doctor", "sketch")
    assert looked.returncode == 1
    assert f"- The embedded backend {SKETCH}" in looked.stdout


@pytest.mark.slow
def test_numpy_alone_is_not_enough_for_the_embedded_backend(base):
    """The error is raised when the backend is opened, before an adetailer stage can pass every image on."""
    code = (
        "import sys, types; numpy = types.ModuleType('numpy'); numpy.__spec__ = types.SimpleNamespace()\n"
        "sys.modules['numpy'] = numpy; import rxpipe; rxpipe.open_backend('sketch')"
    )
    assert "needs scikit-image, which is not installed" in last_line(base(code=code))


def test_the_commands_name_extras_that_there_are():
    """And the base has no package that only an extra needs."""
    from rxpipe.errors import _OPTIONAL  # noqa: PLC0415  # the table behind the messages

    project = tomllib.loads((Path(rxp.__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    base_names = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    assert {extra for _, extra in _OPTIONAL.values()} <= set(project["optional-dependencies"])
    assert not base_names & {"numpy", "scikit-image", "hypothesis", "pyside6-essentials", "ipython", "pytest"}


# -- the same answers as with arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 3), (64, 40), (7, 130)])
def test_sharpness_is_the_variance_of_the_laplacian(size):
    """As numpy computes it."""
    pixels = np.random.default_rng(7).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    grey = pixels.astype(float)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    assert rxp.sharpness(Artifact(id="x").with_image(pixels)) == pytest.approx(np.var(laplacian))


def test_a_picture_without_an_inside_is_not_sharp():
    """Nothing to measure, and no error in the middle of a run."""
    assert rxp.sharpness(Artifact(id="x").with_image(Image.new("L", (2, 9)))) == 0.0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F"])
def test_pictures_of_every_mode_compare_within_a_tolerance(mode):
    """Pixel by pixel, channel by channel, in the units of the mode."""
    one, other = (Image.new(mode, (3, 2)) for _ in range(2))
    step = 255 if mode == "1" else 1
    other.putpixel((1, 1), step if len(mode.rstrip(";16")) == 1 or mode == "I;16" else (step, *[0] * (len(mode) - 1)))
    assert not close_to(one, 0.5).matches(other)
    assert close_to(one, 1).matches(other)
    assert close_to(one, 0).matches(one.copy())
    assert not close_to(one, 9).matches(other.resize((2, 3)))


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ([1, [2.0, 3]], [1, [2.05, 3]], True),
        ([1, 2], [1, 2, 3], False),
        ((1, 2), [1, 2], True),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), True),
        (float("inf"), 0.0, False),
        (1j, 1.05j, True),
        (1.0, "1.0", False),
        ("a", "a", True),
        (None, None, True),
        ([np.zeros(2)], [np.full(2, 0.05)], True),
        ([np.zeros(2)], [np.full(3, 0.05)], False),
    ],
)  # fmt: skip
def test_numbers_and_lists_compare_within_a_tolerance(expected, actual, same):
    """Without arrays, by the same rules."""
    assert close_to(expected, 0.1).matches(actual) is same

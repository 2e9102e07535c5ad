"""The library's log: silent until it is enabled, whatever comes first."""

import subprocess
import sys

import pytest

RUN = (
    "import rxpipe as rxp\n"
    "backend = rxp.open_backend('embedded')\n"
    "rxp.PipelineRunner(backend).run(rxp.chain(rxp.txt2img(width=64, height=64, steps=1), out=None))\n"
)
ENABLE = "from loguru import logger; logger.enable('rxpipe')\n"


def _logged(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr  # noqa: S603  our words


@pytest.mark.parametrize(
    ("program", "speaks"),
    [(RUN, False), (ENABLE + RUN, True), ("import rxpipe\n" + ENABLE + RUN, True)],
    ids=["never", "before", "after the import"],
)
@pytest.mark.slow
def test_a_run_is_logged_where_that_is_enabled(program, speaks):
    """Enabling holds, also where rxpipe loads loguru only afterwards."""
    assert ("run " in _logged(program)) is speaks


def test_importing_the_package_loads_no_loguru():
    """What logs nothing yet pays nothing."""
    assert (
        "loguru"
        not in subprocess.run(
            [sys.executable, "-c", "import sys, rxpipe; print(*sys.modules)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    )

"""The recorded releases: the newest by default, all of them with --slow."""

from __future__ import annotations

import pytest

from rxpipe.testing.servers.comfyui import RECORDED

OLDEST, MIDDLE, NEWEST = RECORDED
RELEASES = [pytest.param(OLDEST, marks=pytest.mark.slow), pytest.param(MIDDLE, marks=pytest.mark.slow), NEWEST]

"""The controller that views are shown in their tests."""

from __future__ import annotations

import pytest
from staged import FakeController


@pytest.fixture
def controller():
    return FakeController()

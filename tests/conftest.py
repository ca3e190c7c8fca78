"""For every test: hypothesis counts examples, not milliseconds; how fast a machine is today is no property of the code."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.clock import Clock
from tests.support.heard import Heard

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()

"""For every test: hypothesis counts examples, not milliseconds; how fast a machine is today is no property of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")

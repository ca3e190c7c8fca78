"""`python -m slipway_sandbox` is `slipway sandbox`."""

from slipway_sandbox.cli import sandbox

sandbox()

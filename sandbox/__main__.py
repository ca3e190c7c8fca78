"""`python -m sandbox` is `slipway sandbox`."""

from sandbox.cli import sandbox

sandbox()

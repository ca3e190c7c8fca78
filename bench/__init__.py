"""Measurements, each one command: `python -m bench.NAME`. Figures are never asserted in tests."""

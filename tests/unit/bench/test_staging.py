"""The bench of staging: its arithmetic."""

from __future__ import annotations

from bench.staging.__main__ import against_slower_leg, spread
from bench.staging.ways import Told


def test_a_ratio_is_taken_round_by_round() -> None:
    assert spread([1.0, 3.0, 2.0], [2.0, 2.0, 2.0]) == {"median": 1.0, "min": 0.5, "max": 1.5}


def test_ours_is_held_against_the_slower_leg_of_each_round() -> None:
    def told(seconds: float) -> Told:
        return Told(9.0, 0.0, {"seconds": seconds})

    figures = {
        "slipway": [told(2.0), told(3.0)],
        "download alone": [told(1.0), told(4.0)],
        "upload alone": [told(2.0), told(1.0)],
    }
    assert against_slower_leg(figures) == {"median": 0.875, "min": 0.75, "max": 1.0}

"""Whose the seconds of a deploy were."""

from __future__ import annotations

import pytest

from flows.run.whose import ENGINE, LOAD, OWN, WHOLE, line, split


@pytest.mark.parametrize(
    ("starts", "load", "engine", "own"),
    [
        ([], 0.0, 0.0, 60.0),
        ([(10.0, 20.0)], 6.0, 20.0, 34.0),
        ([(10.0, 20.0), (12.0, 20.0)], 6.0, 22.0, 32.0),  # two replicas beside each other
        ([(10.0, 20.0), (12.0, 4.0)], 6.0, 20.0, 34.0),  # one within the other
        ([(10.0, 5.0), (30.0, 5.0)], 6.0, 10.0, 44.0),  # blue, then green
        ([(-300.0, 20.0), (10.0, 20.0)], 6.0, 20.0, 34.0),  # of a run before
        ([(10.0, 300.0)], 6.0, 60.0, 0.0),  # never more than there was
    ],
)
def test_what_neither_engine_nor_load_took_is_its_own(
    starts: list[tuple[float, float]], load: float, engine: float, own: float
) -> None:
    found = split(60.0, starts, load)
    assert (found[ENGINE], found[OWN]) == (engine, own)
    assert sum(found[name] for name in (ENGINE, LOAD, OWN)) == found[WHOLE] == 60.0


def test_it_is_told_in_a_line() -> None:
    assert (
        line(split(60.0, [(10.0, 20.0)], 6.0))
        == "1 min 0 s in all: 20.0 s engine's start, 6.0 s load, 34.0 s Slipway's own"
    )
    assert line({}) == ""
    assert line({"noticed": 3.0}) == ""

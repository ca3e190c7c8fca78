"""Whose the seconds of a deploy were: the engine's start, the load that the model's file asks for, Slipway's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.records.quantities import human_seconds

WHOLE, ENGINE, LOAD, OWN = "whole", "engine", "load", "own"
PARTS = (WHOLE, ENGINE, LOAD, OWN)
TOLD = {
    ENGINE: "of it the engine's start, from its pod to its first token",
    LOAD: "of it the load's warm-up and window",
    OWN: "of it Slipway's own: all the rest",
}


def split(wall: float, starts: Sequence[tuple[float, float]], load: float) -> dict[str, float]:
    """Whole, engine's, load's and own seconds. `starts`: when each began since the run did, and how long it took. Pure.

    Starts beside each other count once; one from before the run does not. Engine and load are never at work at once.
    """
    engine, until = 0.0, 0.0
    for began, took in sorted(starts):
        if began >= 0:
            engine += max(0.0, began + took - max(began, until))
            until = max(until, began + took)
    engine = min(engine, wall)
    load = min(load, wall - engine)
    return {WHOLE: wall, ENGINE: engine, LOAD: load, OWN: wall - engine - load}


def line(found: Mapping[str, float]) -> str:
    """All of it in a line; empty where nothing was measured."""
    if OWN not in found:
        return ""
    parts = {name: human_seconds(found[name]) for name in PARTS}
    return f"{parts[WHOLE]} in all: {parts[ENGINE]} engine's start, {parts[LOAD]} load, {parts[OWN]} Slipway's own"

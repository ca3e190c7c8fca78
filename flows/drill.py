"""Drill: make each promise of what serves act, and keep what was seen. It puts back what it changes."""

from __future__ import annotations

from pydantic import Field

from flows.run.awake import awake_models
from flows.run.choices import EnvironmentName, SomeModel, read_models
from flows.run.interrupting import drill_unused
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.drill.task import (
    SCALING,
    UNUSED,
    check_allowed,
    drill_scaling,
    keep_drilled,
)
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.drills import Drilled, Promise
from tasks.records.errors import PromiseBroken
from tasks.records.model import Model
from tasks.releases.task import serving_release
from tasks.site import Site


@runbook(name="slipway-drill", run_name="drill what serves in {environment}")
def drill(
    environment: EnvironmentName,
    model: SomeModel = None,
    promises: list[str] = Field(
        [], description="wake, scale-out, scale-in, rollback; default: all that are promised"
    ),
    in_protected: bool = Field(False, description="also where the environment is protected"),
) -> dict[str, list[Drilled]]:
    """Make each promise of what serves act, and date it.

    Load brings a second replica on a node of its own that answers, and its end takes both away. A model that sleeps, or that
    others use, is left alone. `slipway status` shows when each promise was last seen to act.
    """
    models, where = read_models(model), load_environment(environment)
    wanted = check_allowed(where, promises, in_protected)
    with turn(where):
        site = read_infrastructure(where)
        found = {one.name: drilled(site, one, wanted) for one in awake_models(site, models, model)}
    if broken := [(name, one) for name, each in found.items() for one in each if one.outcome == "broken"]:
        raise promise_broken(broken, environment)
    return found


def drilled(site: Site, model: Model, wanted: tuple[Promise, ...]) -> list[Drilled]:
    """Drill one model, and keep what was seen of it, also of a drill that fails later on."""
    record = serving_release(site, model)
    results: list[Drilled] = []
    try:
        if asleep := [promise for promise in wanted if promise in UNUSED]:
            results += drill_unused(site, model, record, asleep)
        if scaling := [promise for promise in wanted if promise in SCALING]:
            results += drill_scaling(site, model, record, scaling)
    finally:
        keep_drilled(site, model, results)
    return results


def promise_broken(broken: list[tuple[str, Drilled]], environment: str) -> PromiseBroken:
    """One error for all of them: the first's cause, evidence and next command, then the others' causes. Pure."""
    (name, first), *others = broken
    return PromiseBroken(
        f"{name} in {environment}: {first.promise} did not act: {first.cause}",
        evidence=[*first.evidence, *(f"{model}: {one.promise}: {one.cause}" for model, one in others)],
        next_command=first.next_command,
    )

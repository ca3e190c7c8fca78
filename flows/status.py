"""Status: what serves, what it runs on, since when it is proven, what it is asked and costs. Looks, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from flows.run.choices import EveryEnvironment
from flows.run.conclude import here
from flows.run.runbook import runbook
from tasks.cost.task import day_costs
from tasks.infra.task import read_infrastructure
from tasks.preflight.task import tell_certificate
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.environment import Environment
from tasks.records.errors import InvalidDocument, SlipwayError
from tasks.records.model import Model
from tasks.records.status import EnvironmentStatus, ModelStatus
from tasks.rollout.task import tell_troubles
from tasks.status.task import look_at, nothing_of


@runbook(name="slipway-status", run_name="what serves in {environment}")
def status(environment: EveryEnvironment = None) -> list[EnvironmentStatus]:
    """Show what serves, what it runs on, and what it costs.

    A row for each model: release, replicas, nodes, proof, last drill, requests a minute, USD an hour. What does not answer is
    a cell that says so. Without an environment, of every one.
    """
    if environment:
        return [looked_at(load_environment(environment))]
    return of_all(names("environments", project_root()))


def of_all(environments: Sequence[str], *, with_costs: bool = True) -> list[EnvironmentStatus]:
    """Each of them; one that cannot be looked at says why, and hides no other. `with_costs`: of the last 24 hours too."""
    found = []
    for name in environments:
        try:
            where = load_environment(name)
            where.check_variables(os.environ)
            found.append(looked_at(where, with_costs=with_costs))
        except SlipwayError as error:
            found.append(nothing_of(name, error.cause))
    return found


def looked_at(where: Environment, *, with_costs: bool = True) -> EnvironmentStatus:
    """One environment. Raises NothingDeployed, AccessDenied, CloudError: without its state there is nothing to look at."""
    site = here(read_infrastructure)(where)
    models, broken = readable()
    found = here(look_at)(site, models)
    names_served = {one.model for one in found.served}
    served = [model for model in models if model.name in names_served]
    unknown, day = dict(found.unknown), None
    troubles: tuple[str, ...] = ()
    try:
        here(tell_certificate)(where)
    except SlipwayError as error:
        unknown["certificate"] = error.cause
    try:
        troubles = tuple(here(tell_troubles)(site, served))
    except SlipwayError as error:
        unknown["troubles"] = error.cause
    try:
        day = here(day_costs)(site, served) if with_costs else None
    except SlipwayError as error:
        unknown["last_24_hours"] = error.cause
    more = {"models": (*found.models, *broken), "troubles": troubles, "day": day, "unknown": unknown}
    return found.model_copy(update=more)


def readable() -> tuple[list[Model], list[ModelStatus]]:
    """The models whose files can be read, and a row for each of the others."""
    models, broken = [], []
    for name in names("models", project_root()):
        try:
            models.append(load_model(name))
        except InvalidDocument as error:
            broken.append(ModelStatus(model=name, unknown={"release": error.cause}))
    return models, broken

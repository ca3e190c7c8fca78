"""Status: what serves in an environment, since when it is proven, and what runs there. Looks, changes nothing."""

from __future__ import annotations

from flows.run.choices import EnvironmentName, read_models
from flows.run.conclude import here
from flows.run.runbook import runbook
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.results import Served
from tasks.rollout.task import list_served, tell_troubles


@runbook(name="slipway-status", run_name="what serves in {environment}")
def status(environment: EnvironmentName) -> list[Served]:
    """Show what serves: release, replicas, proof, troubles."""
    site = here(read_infrastructure)(load_environment(environment))
    models = read_models(None)
    served = here(list_served)(site, models)
    names = {each.model for each in served}
    here(tell_troubles)(site, [model for model in models if model.name in names])
    return served

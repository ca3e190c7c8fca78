"""Idle: take the GPUs away from every model of an environment that nobody uses. Runs on a schedule."""

from __future__ import annotations

from prefect import get_run_logger

from flows.run.awake import awake_models
from flows.run.choices import EnvironmentName, read_models
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.cost.task import meter_instances
from tasks.idle.task import judge_idle, replicas_to_zero
from tasks.infra.task import no_gpu_nodes, read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.environment import Environment
from tasks.records.errors import ClusterBusy
from tasks.records.progress import SHOWN
from tasks.records.results import IdleDecision, ScaledDown
from tasks.rollout.task import keep_starts


@runbook(name="slipway-idle", run_name="what is idle in {environment}")
def idle(environment: EnvironmentName) -> dict[str, IdleDecision]:
    """Take the GPUs away from every model that nobody uses.

    Each model that serves is judged by its own window; without evidence nothing happens to it.
    """
    where = load_environment(environment)
    try:
        # whoever works on a cluster proves that it is not idle
        with turn(where, give_way=True):
            return judged(where)
    except ClusterBusy as busy:
        get_run_logger().info("%s", busy.cause, extra=SHOWN)
        return {}


def judged(environment: Environment) -> dict[str, IdleDecision]:
    """Scale down each model that is idle, then the GPU nodes where nobody holds a GPU any more; by model."""
    models, site = read_models(None), read_infrastructure(environment)
    # within the hour that EC2 remembers what ended
    meter_instances(site)
    decisions = {}
    done: list[ScaledDown] = []
    for model in awake_models(site, models):
        # before its pods, which show how they started, may go
        keep_starts(site, model)
        decisions[model.name] = judge_idle(site, model)
        if decisions[model.name].act:
            done.append(replicas_to_zero(site, model))
            decisions[model.name] = decisions[model.name].carried_out(done[-1])
    if done and done[-1].nodes_may_go and all(one.asleep for one in done):
        no_gpu_nodes(site)
    return decisions

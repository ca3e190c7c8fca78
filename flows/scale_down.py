"""Scale-down: take the GPUs away from a model nobody uses. Runs on a schedule; without evidence it does nothing."""

from __future__ import annotations

from flows.run.choices import EnvironmentName, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.idle.task import judge_idle, replicas_to_zero
from tasks.infra.task import no_gpu_nodes, read_infrastructure
from tasks.records.results import IdleDecision
from tasks.rollout.task import keep_starts


@runbook(name="slipway-scale-down", run_name="is {model} idle in {environment}")
def scale_down(model: ModelName, environment: EnvironmentName) -> IdleDecision:
    """Take the GPUs away from a model nobody uses.

    Requests, queue and GPUs must have been idle for the model's window; without evidence nothing happens.
    """
    choice = read_choice(model, environment)
    with turn(choice.environment):
        site = read_infrastructure(choice.environment)
        # before its pods, which show how they started, may go
        keep_starts(site, choice.model)
        decision = judge_idle(site, choice.model)
        if decision.act:
            done = replicas_to_zero(site, choice.model)
            if done.nodes_may_go:
                no_gpu_nodes(site)
            decision = decision.carried_out(done)
        return decision

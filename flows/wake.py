"""Wake: bring GPUs and replicas back, and prove it with a completion."""

from __future__ import annotations

from flows.run.choices import Choice, EnvironmentName, Measured, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.idle.task import replicas_from_zero
from tasks.infra.task import gpu_nodes, read_infrastructure
from tasks.records.reports import MeasureFrom
from tasks.releases.task import serving_release
from tasks.rollout.task import confirm


@runbook(name="slipway-wake", run_name="wake {model} in {environment}")
def wake(model: ModelName, environment: EnvironmentName, measure_from: Measured = "cluster") -> str:
    """Bring a model back from zero and prove that it answers."""
    return wake_one(read_choice(model, environment), measure_from)


def wake_one(choice: Choice, measure_from: MeasureFrom) -> str:
    """Wake the model and return its answer. Raises NothingDeployed where it was never deployed there."""
    with turn(choice.environment):
        site = read_infrastructure(choice.environment)
        # before a GPU is paid for
        serving_release(site, choice.model)
        gpu_nodes(site, choice.model)
        replicas_from_zero(site, choice.model)
        return confirm(site, choice.model, "wake", measure_from)

"""Wake: bring GPUs and replicas back, and prove it with a completion."""

from __future__ import annotations

from flows.choices import EnvironmentName, ModelName, read_choice
from flows.graph import runbook
from flows.turn import turn
from tasks.idle.task import replicas_from_zero
from tasks.infra.task import gpu_nodes, read_infrastructure
from tasks.rollout.task import confirm


@runbook(name="wake", run_name="wake {model} in {environment}")
def wake(model: ModelName, environment: EnvironmentName) -> str:
    """Undo a scale-down; the text of the completion that proves it.

    Args:
        model: A file of models/, by its name.
        environment: A file of environments/, by its name.
    """
    what, where = read_choice(model, environment)
    with turn(where):
        storage, cluster = read_infrastructure(where)
        gpu_nodes(where, cluster)
        replicas_from_zero(what, where, cluster)
        return confirm(what, where, storage, cluster, "wake")

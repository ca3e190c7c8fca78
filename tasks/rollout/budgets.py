"""A model's PodDisruptionBudget: remove it where the release has none."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cloud.drains import BUDGET
from tasks.cloud.kubernetes import Object
from tasks.records import names
from tasks.records.model import Model
from tasks.rollout.context import RolloutContext


def remove_stale(context: RolloutContext, model: Model, documents: Sequence[Object]) -> None:
    """Delete the budget that an earlier release left: of one replica it would block every drain."""
    if any(document["kind"] == BUDGET[1] for document in documents):
        return
    name = names.workload(model)
    if context.cluster.delete(*BUDGET, name, context.namespace):
        context.reporter.say(
            f"removed the PodDisruptionBudget {name}: the release keeps one replica at least"
        )

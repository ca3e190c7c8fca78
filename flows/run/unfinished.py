"""Undo the rollout of a run that was killed or cancelled, from what the ledger says."""

from __future__ import annotations

from tasks.infra.task import gpu_nodes, read_remains
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.reports import MeasureFrom
from tasks.releases.task import is_unfinished
from tasks.rollout.task import confirm, undo


def undo_unfinished(model: Model, environment: Environment, measure_from: MeasureFrom) -> str | None:
    """Put back what served before an unfinished rollout; the release that serves again. Needs the turn."""
    _, site = read_remains(environment)
    if site is None or not is_unfinished(site, model):
        return None
    gpu_nodes(site, model)
    target = undo(site, model)
    if target:
        confirm(site, model, "rollback", measure_from)
    return target

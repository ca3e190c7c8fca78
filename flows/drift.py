"""Drift: what terraform would change if it were applied now. Looks, changes nothing."""

from __future__ import annotations

from flows.run.choices import EnvironmentName
from flows.run.runbook import runbook
from tasks.infra.task import find_drift
from tasks.records.catalogue import load_environment
from tasks.task import show_table


@runbook(name="slipway-drift", run_name="drift of {environment}")
def drift(environment: EnvironmentName) -> list[dict[str, str]]:
    """Show what terraform would change in an environment now."""
    found = find_drift(load_environment(environment))
    show_table(f"drift-{environment}", found, f"{len(found)} resources differ from what is written")
    return found

"""Events that others chain automations to: what a run's end means for a model or an environment. Pure.

Documented in docs/watching.md; names and resource ids stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.records.errors import PreflightFailed, SlipwayError
from tasks.records.results import Feasibility, IdleDecision
from tasks.releases.records import Deployed

PROVEN, FAILED, PUT_BACK = "slipway.release.proven", "slipway.release.failed", "slipway.release.put-back"
IDLE, WOKEN = "slipway.model.idle", "slipway.model.woken"
DRIFT, OVER_BUDGET = "slipway.environment.drift", "slipway.environment.over-budget"
# the flows that roll a release out
ROLL_OUT = ("slipway-deploy", "slipway-promote")
# how preflight's row begins that holds an environment against its budget: tasks/preflight/cost.py
BUDGET = "USD an hour at the most are over the budget of"
LONGEST = 500


class Event(NamedTuple):
    """One event of Prefect, as `prefect.events.emit_event` takes it."""

    event: str
    resource: dict[str, str]
    related: list[dict[str, str]]
    payload: dict[str, Any]


def events_of(flow: str, result: Any, given: Mapping[str, Any]) -> list[Event]:
    """What the end of a run tells. `result`: the flow's, or the error it ended with."""
    environment, model = given.get("environment") or "", given.get("model") or ""
    if not environment:
        return []
    if isinstance(result, SlipwayError):
        return _of_failure(flow, result, environment, model)
    if isinstance(result, Deployed):
        release = result.record.release
        told = {"release": release.id, "commit": release.commit, "cost": result.cost, "page": result.page}
        return [_of_model(PROVEN, environment, release.model, told)]
    if flow == "slipway-rollback" and result:
        return [_of_model(PUT_BACK, environment, model, {"release": result})]
    if isinstance(result, IdleDecision):
        return _idle(environment, {model: result})
    if flow == "slipway-idle":
        return _idle(environment, result)
    if flow == "slipway-wake":
        return [_of_model(WOKEN, environment, model, {})]
    if flow == "slipway-wake-due":
        return [_of_model(WOKEN, environment, name, {}) for name in result]
    if flow == "slipway-drift" and result:
        return [_of_environment(DRIFT, environment, {"resources": len(result)})]
    if isinstance(result, Feasibility):
        return _over_budget(environment, [row.detail for row in result.rows if row.status == "fail"])
    return []


def put_back(environment: str, model: str, release: str | None, cause: str) -> Event:
    """A rollout failed, and what served before serves again. `release`: None where nothing did."""
    return _of_model(PUT_BACK, environment, model, {"release": release, "cause": cause[:LONGEST]})


def _of_failure(flow: str, error: SlipwayError, environment: str, model: str) -> list[Event]:
    found = []
    if isinstance(error, PreflightFailed):
        found += _over_budget(environment, [error.cause, *error.evidence])
    if flow in ROLL_OUT:
        told = {"cause": error.cause[:LONGEST], "next_command": error.next_command}
        found.append(_of_model(FAILED, environment, model, told))
    return found


def _over_budget(environment: str, failed: Sequence[str]) -> list[Event]:
    return [
        _of_environment(OVER_BUDGET, environment, {"cause": line[:LONGEST]})
        for line in failed
        if BUDGET in line
    ][:1]


def _idle(environment: str, decisions: Mapping[str, IdleDecision]) -> list[Event]:
    return [
        _of_model(IDLE, environment, model, {"reason": one.reason})
        for model, one in decisions.items()
        if one.act
    ]


def _of_model(event: str, environment: str, model: str, payload: dict[str, Any]) -> Event:
    resource = {
        "prefect.resource.id": f"slipway.model.{environment}.{model}",
        "prefect.resource.name": f"{model} in {environment}",
        "slipway.model": model,
        "slipway.environment": environment,
    }
    return Event(
        event, resource, [_environment(environment) | {"prefect.resource.role": "environment"}], payload
    )


def _of_environment(event: str, environment: str, payload: dict[str, Any]) -> Event:
    return Event(event, _environment(environment), [], payload)


def _environment(environment: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"slipway.environment.{environment}",
        "prefect.resource.name": environment,
        "slipway.environment": environment,
    }

"""Name the state in which a run ends: `Proven`, `Drifted`, `Left: in use` rather than `Completed`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.records.drills import Drilled
from tasks.records.errors import Inconclusive, NothingDeployed, SlipwayError
from tasks.records.keys import KeyChange
from tasks.records.reports import LoadReport, Sweep
from tasks.records.results import Feasibility, IdleDecision, StagedModel
from tasks.records.status import EnvironmentStatus
from tasks.records.watching import Watched
from tasks.releases.records import Deployed

Given = Mapping[str, Any]


class Ending(NamedTuple):
    """The name of a state, its message, and whether it counts as a failure."""

    name: str
    message: str
    failed: bool = False


def _proven(deployed: Deployed, given: Given) -> Ending:
    return Ending("Proven", f"release {deployed.record.release.id} is proven and serves")


def _rolled_back(release: str | None, given: Given) -> Ending:
    if release:
        return Ending("Put back", f"{release} serves")
    return Ending(
        "Nothing to put back", "no rollout is unfinished" if given["unfinished"] else "nothing serves"
    )


def _recovered(lines: list[str], given: Given) -> Ending:
    if lines:
        return Ending("Put back", "; ".join(lines))
    return Ending("Nothing to put back", "no rollout is unfinished")


def _swept(sweep: Sweep, given: Given) -> Ending:
    if sweep.refused:
        return Ending("Inconclusive", sweep.refused)
    return Ending("Knee found", f"objectives hold up to {sweep.knee:.3g} requests a second")


def _idle(decision: IdleDecision, given: Given) -> Ending:
    return Ending("Scaled to zero" if decision.act else "Left: in use", decision.reason)


def _woken(answers: Mapping[str, str], given: Given) -> Ending:
    return Ending("Awake", ", ".join(answers)) if answers else Ending("Nothing to wake", "no model is due")


def _drifted(changes: list[dict[str, str]], given: Given) -> Ending:
    return Ending("Drifted" if changes else "No difference", f"{len(changes)} resources differ")


def _torn_down(result: Any, given: Given) -> Ending:
    kept = f"{len(result.remaining)} things are kept" if result.remaining else "nothing is left"
    return Ending("Torn down", f"{kept}; approved {result.approval}" if result.approval else kept)


def _judged(found: Feasibility, given: Given) -> Ending:
    failed = [row for row in found.rows if row.status == "fail"]
    if failed:
        return Ending("Cannot succeed", "; ".join(f"{row.check}: {row.detail}" for row in failed), True)
    return Ending("Can succeed", f"{len(found.rows)} checks")


def _staged(staged: StagedModel, given: Given) -> Ending:
    return Ending("Staged", f"{staged.uri}{': it was there' if staged.reused else ''}")


def _proven_again(reports: Mapping[str, LoadReport], given: Given) -> Ending:
    if not reports:
        return Ending("Nothing serves", "no model has a replica")
    return Ending("Proven", ", ".join(reports))


def _idle_of_all(decisions: Mapping[str, IdleDecision], given: Given) -> Ending:
    if not decisions:
        return Ending("Nothing to judge", "no model has a replica, or a run works on the cluster")
    idle = [model for model, decision in decisions.items() if decision.act]
    if idle:
        return Ending("Scaled to zero", ", ".join(idle))
    return Ending("Left: in use", "; ".join(f"{model}: {one.reason}" for model, one in decisions.items()))


def _served(found: list[EnvironmentStatus], given: Given) -> Ending:
    models = [model for one in found for model in one.models]
    awake = [one.model for one in models if one.awake]
    return Ending(
        "Serving" if awake else "Nothing serves", f"{len(awake)} of {len(models)} models have replicas"
    )


def _watched(found: Mapping[str, Watched], given: Given) -> Ending:
    if not found:
        return Ending("Nothing new", "no followed model has a commit to decide about")
    told = "; ".join(f"{model}: {one.commit[:12]} {one.outcome}" for model, one in found.items())
    return Ending("Proven" if any(one.outcome == "proven" for one in found.values()) else "Refused", told)


def _drilled(found: Mapping[str, Sequence[Drilled]], given: Given) -> Ending:
    results = [(model, one) for model, each in found.items() for one in each]
    kept = [f"{model}: {one.promise}" for model, one in results if one.outcome == "kept"]
    if not kept:
        return Ending("Nothing drilled", "; ".join(f"{m}: {one.promise}: {one.cause}" for m, one in results))
    return Ending("Seen to act", ", ".join(kept))


def _key(name: str, change: KeyChange) -> Ending:
    where = "the gateway has it" if change.at_the_gateway else "the next deploy brings it to the gateway"
    return Ending(name, f"{change.key.name}: {where}")


ENDINGS: dict[str, Callable[[Any, Given], Ending]] = {
    "slipway-deploy": _proven,
    "slipway-promote": _proven,
    "slipway-rollback": _rolled_back,
    "slipway-recover": _recovered,
    "slipway-sweep": _swept,
    "slipway-scale-down": _idle,
    "slipway-wake": lambda answer, given: Ending("Awake", f"it answers: {answer!r}"),
    "slipway-wake-due": _woken,
    "slipway-drift": _drifted,
    "slipway-teardown": _torn_down,
    "slipway-preflight": _judged,
    "slipway-stage": _staged,
    "slipway-validate": _proven_again,
    "slipway-idle": _idle_of_all,
    "slipway-status": _served,
    "slipway-drill": _drilled,
    "slipway-watch": _watched,
    "slipway-keys-add": lambda change, given: _key("Added", change),
    "slipway-keys-rotate": lambda change, given: _key("Rotated", change),
    "slipway-keys-revoke": lambda change, given: _key("Revoked", change),
    "slipway-keys-sync": lambda valid, given: Ending("At the gateway", f"{valid} keys"),
}


def ending_of(flow: str, result: Any, given: Given) -> Ending:
    """The ending of a flow that returned `result`; `flow`: its name in Prefect."""
    return ENDINGS[flow](result, given)


def failure_name(error: SlipwayError) -> str:
    """The name of the Failed state; automations.yaml reports each of them."""
    return "Inconclusive" if isinstance(error, Inconclusive) else "Failed"


def ends_quietly(error: SlipwayError, *, scheduled: bool) -> bool:
    """Whether an error is none: a schedule is active before anything is deployed."""
    return scheduled and isinstance(error, NothingDeployed)

"""Decide whether a promise may be put to the test now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.records.drills import PROMISES, Drilled, Promise
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.records.results import IdleDecision
from tasks.releases.promises import No
from tasks.releases.records import ReleaseRecord

IN_USE = 0.5  # of the target: with more, a drill's load would come on top of what users ask


def may_scale(
    model: Model, ready: int, wanted: int, demand: float | None, environment: Environment
) -> No | None:
    """Why load may not be put on now; None where it may.

    `ready` and `wanted`: replicas; `demand`: without the drill's load.
    """
    fewest, name = model.scaling.min_replicas, model.name
    later = f"slipway drill {name} -e {environment.name}, when it is quiet"
    if ready < (expected := max(fewest, wanted)):
        status = f"slipway status -e {environment.name}"
        return No("not now", f"{ready} of {expected} replicas are ready", status)
    if ready > fewest:
        return No("not now", f"{ready} replicas run, more than min_replicas: it is scaled out already", later)
    target = model.scaling.requests_per_replica * ready
    if demand is not None and demand > IN_USE * target:
        return No("not now", f"the demand is {demand:g} of {target}: others use it", later)
    return None


def may_interrupt(
    model: Model, environment: Environment, idle: IdleDecision, before: ReleaseRecord | None
) -> No | None:
    """Why the model may not be interrupted now; None where nobody uses it. `before`: the release of a rollback."""
    if before and (before.evidence is None or before.evidence.verdict != "PASS"):
        return No("not now", f"release {before.release.id}, which served before, is not proven")
    if not idle.act:
        later = f"slipway drill {model.name} -e {environment.name}, when nobody uses it"
        return No("not now", f"it would interrupt what is in use: {idle.reason}", later)
    return None


def check_allowed(environment: Environment, wanted: Sequence[str], in_protected: bool) -> tuple[Promise, ...]:
    """The promises to drill. Raises InputError for a word that is none, and in a protected environment unless it is told to."""
    if unknown := sorted({*wanted} - {*PROMISES}):
        raise InputError(
            f"{unknown[0]!r} is no promise",
            evidence=[", ".join(PROMISES)],
            next_command=f"slipway drill MODEL -e {environment.name} --promise {PROMISES[1]}",
        )
    if environment.protected and not (in_protected or environment.drills.in_protected):
        raise InputError(
            f"{environment.name} is protected: a drill puts load on what serves",
            next_command=f"slipway drill MODEL -e {environment.name} --in-protected; or drills.in_protected in its file",
        )
    return tuple(promise for promise in PROMISES if not wanted or promise in wanted)


def result(promise: Promise, why: No, release: str) -> Drilled:
    """A promise that is not put to the test."""
    return Drilled(
        promise=promise,
        outcome=why.outcome,
        at=datetime.now(UTC),
        release=release,
        cause=why.why,
        next_command=why.next_command,
    )

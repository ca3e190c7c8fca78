"""The way back: what served before serves again, from what was written down, however the run ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks.cloud.scaling import resume
from tasks.records.errors import SlipwayError, as_slipway_error
from tasks.records.model import HowToRollOut, Model
from tasks.releases.ledger import Serving
from tasks.releases.records import Failure
from tasks.rollout import bluegreen, gate, starts
from tasks.rollout.manifests import deployment_strategy, workload_name
from tasks.rollout.place import Place
from tasks.rollout.planning import plan_rollout


@dataclass(frozen=True)
class Return:
    """What going back means: the release to put back, or None for "nothing served before"."""

    target: str | None
    reason: str
    act: bool


def decide_return(known: Serving, wanted: str | None = None) -> Return:
    """Where to go back to, from what was written down. `wanted` is a release a person named. Pure."""
    if wanted:
        return Return(wanted, f"release {wanted} was asked for", True)
    if known.rolling and known.rolling != known.serving:
        if known.serving is None:
            return Return(None, f"{known.rolling} did not pass its gates and nothing served before it", True)
        return Return(known.serving, f"{known.rolling} did not pass its gates", True)
    if known.rolling:
        return Return(known.serving, f"{known.rolling} is what served before too: it stays", False)
    if known.returned:
        further = f"; slipway rollback --release {known.previous} goes further back" if known.previous else ""
        return Return(
            known.serving,
            f"{known.serving} was put back already, and nothing was proven since{further}",
            False,
        )
    if known.previous:
        return Return(known.previous, f"{known.previous} served before {known.serving}", True)
    return Return(known.serving, "no release served before this one", False)


def undo(place: Place, model: Model) -> Return | None:
    """After a rollout that failed: put back what served. None where nothing had begun, and so nothing moved."""
    return restore(place, model) if place.ledger.serving().rolling else None


@contextmanager
def keeping(place: Place, release_id: str) -> Iterator[None]:
    """Record with the release what goes wrong in the block."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as failure:
        keep(place, release_id, as_slipway_error(failure))
        raise


def keep(place: Place, release_id: str, failure: SlipwayError) -> None:
    """Record why the release failed; the first recorded cause wins."""
    record = place.ledger.record(release_id)
    if record.failure is None:
        place.ledger.keep(record.model_copy(update={"failure": Failure.of(failure)}))


def what_is_seen(place: Place, release_id: str) -> SlipwayError:
    """Of a release whose run died without a word: what its pods tell now, before they go."""
    namespace = place.environment.namespace
    pods = gate.release_pods(place.cluster.list("v1", "Pod", namespace), release_id)
    found = gate.explain_pods(place.cluster, pods)
    if found:
        return gate.failure(found)
    return SlipwayError(
        f"the run that rolled it out ended before its gates; its pods: {gate.phase_of(pods)}",
        evidence=[line for pod in pods[:4] for line in gate.evidence_of(place.cluster, pod)],
    )


def restore(place: Place, model: Model, wanted: str | None = None) -> Return:
    """Put back what the ledger says served before; the same call again changes nothing.

    Raises RolloutFailed when the restored release does not become ready either.
    """
    known = place.ledger.serving()
    decision = decide_return(known, wanted)
    place.reporter.say(f"going back: {decision.reason}")
    broken = known.rolling if known.rolling != decision.target else None
    if broken and place.ledger.record(broken).failure is None:
        keep(place, broken, what_is_seen(place, broken))
    if not decision.act:
        if known.rolling:
            place.ledger.restored(known.serving)
        return decision
    if decision.target is None:
        _nothing_serves(place, model)
        place.ledger.restored(None)
        return decision
    record = place.ledger.record(decision.target)
    pods = _put_back(place, model, decision.target, record.documents)
    place.ledger.restored(decision.target, asked_for=bool(wanted))
    place.reporter.say(f"release {decision.target} serves again")
    starts.remember(place, decision.target, pods, "return")
    return decision


def _put_back(
    place: Place, model: Model, release_id: str, documents: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Apply the release's own documents; a green Deployment serves until its pods do. Those pods."""
    namespace, workload = place.environment.namespace, workload_name(model)
    green = bluegreen.tidy(place, model, documents)
    # the strategy it was rolled out with was for that moment: a surge waits forever for a GPU the broken one holds
    plan = plan_rollout(place, model, HowToRollOut(), 0)
    strategy = deployment_strategy(
        "Recreate" if plan.strategy == "Recreate" else "RollingUpdate",
        surge=plan.surge,
        unavailable=plan.unavailable,
    )
    for document in documents:
        if document["kind"] == "Deployment":
            document = {**document, "spec": {**document["spec"], "strategy": strategy}}
        if not (green and document["kind"] == "Service"):
            place.cluster.apply(document)
    resume(place.cluster, namespace, workload, max(1, model.scaling.min_replicas))
    pods = place.wait_for_pods(workload, release_id, _budget_of(documents))
    if green:
        bluegreen.turn_back(place, model, documents)
    return pods


def _nothing_serves(place: Place, model: Model) -> None:
    namespace, workload = place.environment.namespace, workload_name(model)
    place.cluster.delete("keda.sh/v1alpha1", "ScaledObject", workload, namespace)
    place.cluster.delete("apps/v1", "Deployment", workload, namespace, propagation="Foreground")
    bluegreen.remove(place, model)
    place.wait_until(
        lambda: place.workload(workload) is None,
        place.environment.deadlines.drain,
        f"the Deployment {workload} does not go away",
        workload,
    )


def _budget_of(documents: Sequence[dict[str, Any]]) -> float:
    """The start-up budget is in the release itself: its Deployment's progress deadline, in seconds."""
    return float(next(d["spec"]["progressDeadlineSeconds"] for d in documents if d["kind"] == "Deployment"))

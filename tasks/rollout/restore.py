"""Put back the release that served before, from what the ledger says, however the last run ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tasks.cloud.kubernetes import Object
from tasks.cloud.scaling import resume
from tasks.records import names
from tasks.records.errors import SlipwayError, as_slipway_error
from tasks.records.model import HowToRollOut, Model
from tasks.records.strategy import Strategy
from tasks.releases.ledger import Serving
from tasks.releases.records import Failure
from tasks.rollout import bluegreen, budgets
from tasks.rollout.context import RolloutContext
from tasks.rollout.evidence import explain_pods, lines_of
from tasks.rollout.gate import wait_for_pods
from tasks.rollout.kept_log import failure_of
from tasks.rollout.planning import plan_rollout
from tasks.rollout.pod_phases import phase_of, release_pods
from tasks.rollout.start_report import remember
from tasks.rollout.strategy import RolloutPlan


@dataclass(frozen=True)
class Return:
    """Where going back leads. `target`: the release that serves then; None where nothing served before."""

    target: str | None
    reason: str
    act: bool


def decide_return(known: Serving, wanted: str | None = None) -> Return:
    """Decide which release to put back. `wanted`: one that a person named. Pure."""
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


def undo(context: RolloutContext, model: Model) -> Return | None:
    """Put back what served before a rollout that failed; None where none had begun."""
    return restore(context, model) if context.ledger.serving().rolling else None


@contextmanager
def keeping(context: RolloutContext, release_id: str) -> Iterator[None]:
    """Record with the release what goes wrong in the block."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as failure:
        keep(context, release_id, as_slipway_error(failure))
        raise


def keep(context: RolloutContext, release_id: str, failure: SlipwayError) -> None:
    """Record why the release failed; the first recorded cause wins."""
    record = context.ledger.record(release_id)
    if record.failure is None:
        context.ledger.keep(record.model_copy(update={"failure": Failure.of(failure)}))


def failure_seen(context: RolloutContext, release_id: str) -> SlipwayError:
    """Why a release failed whose run died without recording it: what its pods show before they are replaced."""
    pods = release_pods(context.cluster.list("v1", "Pod", context.namespace), release_id)
    if found := explain_pods(context.cluster, pods):
        return failure_of(context, release_id, found)
    return SlipwayError(
        f"the run that rolled it out ended before its gates; its pods: {phase_of(pods)}",
        evidence=lines_of(context.cluster, pods[:4]),
    )


def restore(context: RolloutContext, model: Model, wanted: str | None = None) -> Return:
    """Put back what the ledger says served before. Idempotent.

    Raises RolloutFailed where the restored release does not become ready either.
    """
    known = context.ledger.serving()
    decision = decide_return(known, wanted)
    context.reporter.say(f"going back: {decision.reason}")
    broken = known.rolling if known.rolling != decision.target else None
    if broken and context.ledger.record(broken).failure is None:
        keep(context, broken, failure_seen(context, broken))
    if not decision.act:
        if known.rolling:
            context.ledger.restored(known.serving)
        return decision
    if decision.target is None:
        _nothing_serves(context, model)
        context.ledger.restored(None)
        return decision
    record = context.ledger.record(decision.target)
    pods = _put_back(context, model, decision.target, record.documents)
    context.ledger.restored(decision.target, asked_for=bool(wanted))
    context.reporter.say(f"release {decision.target} serves again")
    remember(context, decision.target, pods, "return", model.scaling.start_budget)
    return decision


def _put_back(
    context: RolloutContext, model: Model, release_id: str, documents: Sequence[Object]
) -> list[Object]:
    """Apply the release's own documents and wait for its pods; those. A green Deployment serves until then."""
    workload = names.workload(model)
    green = bluegreen.tidy(context, model, documents)
    # chosen anew: a surge that was right then may wait for ever for a GPU that the broken release holds
    plan = plan_rollout(context, model, HowToRollOut(), None)
    strategy = plan.deployment_strategy
    if plan.strategy is Strategy.ROLLING and not plan.unavailable:
        # nothing serves: a pod of the broken release that comes up late must not keep the GPU
        strategy = RolloutPlan(Strategy.RECREATE, plan.reason).deployment_strategy
    for document in documents:
        if document["kind"] == "Deployment":
            document = {**document, "spec": {**document["spec"], "strategy": strategy}}
        if not (green and document["kind"] == "Service"):
            context.cluster.apply(document)
    budgets.remove_stale(context, model, documents)
    resume(context.cluster, context.namespace, workload, max(1, model.scaling.min_replicas))
    pods = wait_for_pods(context, workload, release_id, _budget_of(documents))
    if green:
        bluegreen.turn_back(context, model, documents)
    return pods


def _nothing_serves(context: RolloutContext, model: Model) -> None:
    """Delete the model's Deployments and wait until they have gone. Raises RolloutFailed."""
    namespace, workload = context.namespace, names.workload(model)
    context.cluster.delete("keda.sh/v1alpha1", "ScaledObject", workload, namespace)
    budgets.remove_stale(context, model, ())
    context.cluster.delete("apps/v1", "Deployment", workload, namespace, propagation="Foreground")
    bluegreen.remove(context, model)
    context.wait_until(
        lambda: context.workload(workload) is None,
        context.environment.deadlines.drain,
        f"the Deployment {workload} does not go away",
        workload,
    )


def _budget_of(documents: Sequence[Object]) -> float:
    """The release's start-up budget in seconds, which its Deployment has as progress deadline."""
    return float(next(d["spec"]["progressDeadlineSeconds"] for d in documents if d["kind"] == "Deployment"))

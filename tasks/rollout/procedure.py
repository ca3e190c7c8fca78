"""Roll out one release: plan, record, take over, pass the gate, report. restore.py goes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records import names
from tasks.records.model import Model
from tasks.records.pairs import PAIR_SECONDS
from tasks.records.quantities import human_seconds
from tasks.records.questions import NAMES, probe_route
from tasks.records.results import Endpoint, Release, Rollout
from tasks.records.strategy import Strategy
from tasks.releases.images import moved
from tasks.releases.ledger import Serving
from tasks.releases.records import ReleaseRecord
from tasks.rollout import admission, bluegreen, gateway, holder, restore, start_report
from tasks.rollout.asking import watching
from tasks.rollout.context import RolloutContext
from tasks.rollout.gate import wait_for_pods
from tasks.rollout.manifests import release_of, serving, stamped, start_budget_seconds
from tasks.rollout.planning import plan_rollout
from tasks.rollout.pod_phases import is_scheduled, release_pods, selector_of
from tasks.rollout.strategy import RolloutPlan, under_way
from tasks.rollout.takeover import Takeover, ask, take_over
from tasks.rollout.weights import Weights


def roll_out(context: RolloutContext, model: Model, weights: Weights) -> ReleaseRecord:
    """Apply the release and pass the readiness gate; its record, which has the Rollout.

    The ledger has what serves now before the first write to the Deployment. Raises RolloutFailed; nothing is put back
    then: that is `restore.undo`.
    """
    gateway.check_aliases(context.cluster, model, context.environment)
    gateway.check_backend(context.cluster, model, context.environment)
    gateway.check_load_balancer(context.cluster, context.environment)
    documents = serving(context.root, model, context.environment, weights)
    green_serves = bluegreen.tidy(context, model, documents)
    takeover = prepare(context, model, weights, documents, green_serves=green_serves)
    context.ledger.begin(takeover.record)
    announce(context, takeover)
    with restore.keeping(context, takeover.release_id):
        return carry_out(context, takeover)


def prepare(
    context: RolloutContext,
    model: Model,
    weights: Weights,
    documents: Sequence[Object],
    *,
    green_serves: bool,
) -> Takeover:
    """Observe what serves, plan how the release takes over, and set its Deployment's strategy. Nothing is applied."""
    environment = context.environment
    before = context.workload(names.workload(model))
    known, last = last_release(context)
    release = release_of(model, environment, weights.commit, documents)
    unchanged = before is not None and release_id_of(before) == release.id
    begun = before if unchanged and not blocked(context, before, release.id) else None
    if begun is not None:
        plan = under_way(begun)
    elif before is not None and unchanged:
        plan = RolloutPlan(Strategy.RECREATE, "pods of another release have the GPUs that it waits for")
    else:
        how = model.rollout
        if green_serves:
            how = how.model_copy(update={"strategy": Strategy.AUTO})
        plan = plan_rollout(context, model, how, weights, last)
    set_strategy(documents, plan, begun)
    return Takeover(
        model=model,
        record=renewed(context.ledger.find(release.id), release, documents),
        plan=plan,
        budget=environment.deadlines.pod_start + start_budget_seconds(weights, environment),
        replicas=int(objects.spec(before).get("replicas", 1)),
        known=known,
        last=last,
        unchanged=unchanged,
        green_serves=green_serves,
    )


def renewed(earlier: ReleaseRecord | None, release: Release, documents: Sequence[Object]) -> ReleaseRecord:
    """The release's record for another rollout: it keeps proof, endpoint and starts, not failure and commit. Pure."""
    known = earlier or ReleaseRecord(release=release, documents=())
    return known.model_copy(
        update={
            "documents": tuple(stamped(documents, release)),
            "failure": None,
            "report": None,
            "made_from": None,
        }
    )


def last_release(context: RolloutContext) -> tuple[Serving, ReleaseRecord | None]:
    """The ledger's state, and the release that it says serves."""
    known = context.ledger.serving()
    return known, context.ledger.record(known.serving) if known.serving else None


def set_strategy(documents: Sequence[Object], plan: RolloutPlan, present: Mapping[str, Any] | None) -> None:
    """Write the plan into the Deployment; one under way (`present`) keeps the strategy it has."""
    chosen = objects.spec(present).get("strategy") or plan.deployment_strategy
    next(d for d in documents if d["kind"] == "Deployment")["spec"]["strategy"] = chosen


def blocked(context: RolloutContext, deployment: Mapping[str, Any] | None, release_id: str) -> bool:
    """Whether the release waits for GPUs that pods of another release of its Deployment have.

    So it is after a return whose replaced release came up late: that one passed no gate, and a surge lets it be.
    """
    if objects.is_complete(deployment):
        return False
    listed = context.cluster.list("v1", "Pod", context.namespace, label_selector=selector_of(deployment))
    return waits_for_others(listed, release_id)


def waits_for_others(pods: Sequence[Object], release_id: str) -> bool:
    """Whether none of the release's pods has a node, and one of another release has. Pure."""
    mine = release_pods(pods, release_id)
    others = [pod for pod in objects.staying(pods) if pod not in mine and is_scheduled(pod)]
    return bool(mine and others) and not any(is_scheduled(pod) for pod in mine)


def start_anew(context: RolloutContext, deployment: Mapping[str, Any] | None, release_id: str) -> None:
    """Delete the release's pods whose engine ended and that are not ready: they may have met a volume not yet filled."""
    listed = context.cluster.list("v1", "Pod", context.namespace, label_selector=selector_of(deployment))
    for pod in release_pods(listed, release_id):
        restarts = sum(status.get("restartCount") or 0 for status in objects.container_statuses(pod))
        if restarts and not objects.is_ready(pod):
            context.reporter.say(
                f"pod {objects.name(pod)} ended {restarts} times before this run: it starts anew"
            )
            context.cluster.delete("v1", "Pod", objects.name(pod), context.namespace)


def announce(context: RolloutContext, takeover: Takeover) -> None:
    """Report what will be done, why, and the expected downtime, before anything moves."""
    release, say = takeover.record.release, context.reporter.say
    if takeover.unchanged:
        say(f"release {release.id} is applied already: checking it")
    else:
        say(f"release {release.id} (bundle {release.bundle}) after {takeover.known.serving or 'nothing'}")
        if told := moved(takeover.last.release.image if takeover.last else None, release.image):
            context.reporter.warn(told)
        say(str(takeover.plan))
    context.show(f"rollout-{release.model}", takeover.plan.rows(), f"How release {release.id} takes over")


def carry_out(context: RolloutContext, takeover: Takeover) -> ReleaseRecord:
    """Take over, pass the gate, and report the downtime and the start. Raises RolloutFailed."""
    gateway.ensure_engine_key(context.cluster, context.namespace)
    key = objects.read_key(context.cluster, context.namespace, names.OWN_KEY_SECRET)
    if takeover.unchanged:
        start_anew(context, context.workload(takeover.workload), takeover.release_id)
    elif takeover.known.serving and takeover.plan.strategy is Strategy.RECREATE:
        admission.check(context, takeover.document("Deployment"))
    polled = takeover.last.rollout.endpoint if takeover.last and takeover.last.rollout else None
    # a second start of blue-green, its gate, its pairs and the last gate are within it
    pairs = PAIR_SECONDS if takeover.model.rollout.pairs else 0.0
    longest = 2 * takeover.budget + 2 * context.environment.deadlines.gateway + pairs
    with watching(context, polled, key, longest) as watch:
        paired = take_over(context, takeover)
        endpoint, pods = pass_gate(context, takeover)
        measured = watch.stop()
    report_downtime(context, takeover.plan, measured)
    record = takeover.record
    # a release that differs in what is not compiled uses the cache of the one before
    earlier = [*record.starts, *(takeover.last.starts if takeover.last else ())]
    starts = [one.after(earlier) for one in start_report.read_starts(context, pods, "rollout")]
    if start := start_report.longest(starts):
        before = start_report.start_before(start, record, takeover.last)
        budgets = takeover.model.scaling.start_budget
        start_report.report_start(context, takeover.release_id, start, before, budgets)
    for one in starts:
        record = record.with_start(one)
    rollout = rollout_of(context, takeover, endpoint, measured)
    return record.model_copy(update={"rollout": rollout, "paired": paired or record.paired})


def pass_gate(context: RolloutContext, takeover: Takeover) -> tuple[Endpoint, list[Object]]:
    """Wait for the Deployment's pods, then ask through the gateway; the endpoint and the pods. Raises RolloutFailed."""
    pods = wait_for_pods(context, takeover.workload, takeover.release_id, takeover.budget)
    if takeover.model.scaling.scale_to_zero:
        holder.wait_until_ready(context.cluster, context.environment, context.time)
    endpoint, answer = ask(context, takeover, takeover.workload)
    context.reporter.say(
        f"gate passed: /health, /v1/models and {NAMES[probe_route(takeover.model.engine.task)]} by each of "
        f"{len(pods)} new pods, "
        f"and ({answer!r:.120}) through the gateway"
    )
    return endpoint, pods


def rollout_of(
    context: RolloutContext, takeover: Takeover, endpoint: Endpoint, gap_seconds: float | None
) -> Rollout:
    """The record of a release that passed its gate."""
    annotations = objects.annotations(context.workload(takeover.workload))
    return Rollout(
        release_id=takeover.release_id,
        revision=int(annotations.get("deployment.kubernetes.io/revision", 1)),
        previous_release_id=takeover.previous_release_id,
        strategy=takeover.plan.strategy,
        endpoint=endpoint,
        expected_gap_seconds=takeover.plan.downtime_seconds,
        gap_seconds=gap_seconds,
        canary=takeover.plan.canary,
        unchanged=takeover.unchanged,
    )


def report_downtime(context: RolloutContext, plan: RolloutPlan, measured: float | None) -> None:
    """Report measured and expected downtime side by side; nothing where no release served before."""
    if measured is None:
        return
    expected = f"about {human_seconds(plan.downtime_seconds)}" if plan.downtime_seconds else "none"
    found = f"nobody answered for {human_seconds(measured)}" if measured else "every question was answered"
    context.reporter.say(f"downtime: {found}, measured at the gateway; expected: {expected}")


def release_id_of(workload: Mapping[str, Any] | None) -> str | None:
    """The release that a Deployment is annotated with."""
    return objects.annotations(workload).get(names.RELEASE_ANNOTATION)

"""One release onto the cluster: observe, choose how, write down, apply, gate. The way back is restore.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import resume
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.quantities import human_seconds
from tasks.records.results import Endpoint, Release, Rollout, WarmCache
from tasks.releases.ledger import Serving
from tasks.releases.records import ReleaseRecord
from tasks.rollout import bluegreen, gap, gate, gateway, network, restore, starts
from tasks.rollout.manifests import (
    KEY_SECRET,
    RELEASE_ANNOTATION,
    deployment_strategy,
    load,
    release_of,
    serving,
    stamped,
    start_budget_seconds,
    workload_name,
)
from tasks.rollout.place import Place
from tasks.rollout.planning import plan_rollout
from tasks.rollout.strategy import Plan

Document = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One rollout: what is applied, how, and within how many seconds its pods must come up."""

    model: Model
    record: ReleaseRecord
    plan: Plan
    budget: float
    replicas: int

    @property
    def release_id(self) -> str:
        return self.record.release.id

    @property
    def workload(self) -> str:
        return workload_name(self.model)

    def document(self, kind: str) -> Document:
        return next(document for document in self.record.documents if document["kind"] == kind)


def roll_out(place: Place, model: Model, cache: WarmCache, weight_bytes: int) -> ReleaseRecord:
    """Apply the release and pass the readiness gate. The record holds the Rollout.

    What serves now is in the ledger before the first write to the workload. Raises RolloutFailed; then
    nothing has been restored yet: that is `restore.undo`.
    """
    environment = place.environment
    before = place.workload(workload_name(model))
    last = last_release(place)
    documents = serving(
        place.root, model, environment, cache=cache, strategy="RollingUpdate", weight_bytes=weight_bytes
    )
    release = release_of(model, environment, cache, documents)
    unchanged = before is not None and _release_id(before) == release.id
    green = bluegreen.tidy(place, model, documents)
    how = model.rollout.model_copy(update={"strategy": "auto"}) if green else model.rollout
    plan = under_way(before) if unchanged and before else plan_rollout(place, model, how, weight_bytes, last)
    set_strategy(documents, plan, before if unchanged else None)
    record = anew(place.ledger.find(release.id), release, documents)
    known = place.ledger.begin(record)
    announce(place, record, plan, known, unchanged=unchanged)
    budget = environment.deadlines.pod_start + start_budget_seconds(weight_bytes, environment)
    replicas = int(before["spec"].get("replicas", 1)) if before else 1
    step = Step(model, record, plan, budget, replicas)
    with restore.keeping(place, release.id):
        rollout, record, measured = carry_out(place, step, last, green=green)
    told = {
        "previous_release_id": known.serving if known.serving != release.id else known.previous,
        "gap_seconds": measured,
        "unchanged": unchanged,
    }
    return record.model_copy(update={"rollout": rollout.model_copy(update=told)})


def anew(earlier: ReleaseRecord | None, release: Release, documents: Sequence[Document]) -> ReleaseRecord:
    """The release as it is rolled out now. One that is known already keeps where it answers and its starts
    (`proven_by` stays too); what became of it the last time says nothing of this time. Pure."""
    known = earlier or ReleaseRecord(release=release, documents=())
    return known.model_copy(
        update={"documents": tuple(stamped(documents, release)), "failure": None, "report": None}
    )


def carry_out(
    place: Place, step: Step, last: ReleaseRecord | None, *, green: bool
) -> tuple[Rollout, ReleaseRecord, float | None]:
    """Take over, pass the gate, tell how long nobody answered and how long the start took. Raises RolloutFailed."""
    key = gateway.ensure_key(place.cluster, place.environment.namespace)
    asked = last.rollout.endpoint if last and last.rollout else None
    with gap.watching(asked, key) as watch:
        take_over(place, step, green=green)
        rollout, pods = pass_gate(place, step)
        measured = watch.stop() if watch else None
    say_gap(place, step.plan, measured)
    start = starts.read_start(place, pods, "rollout")
    if start is None:
        return rollout, step.record, measured
    starts.tell_start(place, step.release_id, start, starts.start_before(start, step.record, last))
    return rollout, step.record.with_start(start), measured


def announce(place: Place, record: ReleaseRecord, plan: Plan, known: Serving, *, unchanged: bool) -> None:
    """What will be done, why, and for how long nobody will answer: before anything moves."""
    release = record.release
    if unchanged:
        place.reporter.say(f"release {release.id} is applied already: checking it")
    else:
        place.reporter.say(
            f"release {release.id} (bundle {release.bundle}) after {known.serving or 'nothing'}"
        )
        place.reporter.say(str(plan))
    place.show(f"rollout-{release.model}", plan.rows(), f"How release {release.id} takes over")


def last_release(place: Place) -> ReleaseRecord | None:
    """The release the ledger says serves."""
    known: Serving = place.ledger.serving()
    return place.ledger.record(known.serving) if known.serving else None


def under_way(before: Mapping[str, Any]) -> Plan:
    """The plan of a rollout that a run before this one began: as the Deployment says it. Pure.

    One that is paused stands at its canary, which has yet to pass.
    """
    strategy = before["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Plan("Recreate", "begun by a run before this one")
    bounds = strategy.get("rollingUpdate") or {}
    first = int((before.get("status") or {}).get("updatedReplicas") or 1)
    return Plan(
        "RollingUpdate",
        "begun by a run before this one",
        surge=bounds.get("maxSurge", 1),
        unavailable=bounds.get("maxUnavailable", 0),
        canary=first if before["spec"].get("paused") else 0,
    )


def set_strategy(documents: Sequence[Document], plan: Plan, present: Mapping[str, Any] | None) -> None:
    """The plan as the Deployment's strategy; of one under way what it has, whatever that is."""
    # blue-green: while green serves, the Deployment's own pods may all go at once, and need no GPU beside
    kind = "RollingUpdate" if plan.strategy == "RollingUpdate" else "Recreate"
    chosen = deployment_strategy(kind, surge=plan.surge, unavailable=plan.unavailable)  # type: ignore[arg-type]
    if present and present["spec"].get("strategy"):
        chosen = present["spec"]["strategy"]
    next(d for d in documents if d["kind"] == "Deployment")["spec"]["strategy"] = chosen


def take_over(place: Place, step: Step, *, green: bool) -> None:
    """Apply the release the way the plan says, until its Deployment is complete with it. Raises RolloutFailed.

    `green`: a green Deployment of a run that died carries the traffic still.
    """
    namespace = place.environment.namespace
    if step.plan.strategy == "blue-green":
        prove_green(place, step)
        green = True
    for document in step.record.documents:
        if document["kind"] == "Deployment" and step.plan.canary:
            prove_canary(place, step)
        if not (green and document["kind"] == "Service"):
            place.cluster.apply(document)
    open_door(place, step.model)
    resume(place.cluster, namespace, step.workload, max(1, step.model.scaling.min_replicas))
    place.wait_for_pods(step.workload, step.release_id, step.budget)
    if green:
        bluegreen.turn_back(place, step.model, step.record.documents)
        place.reporter.say("the Service leads to the model's own Deployment again, green has gone")


def prove_green(place: Place, step: Step) -> None:
    """The whole release on pods of its own; once they have answered, the Service is turned to them, and asked."""
    for document in step.record.documents:
        if document["kind"] not in ("Deployment", "Service", "ScaledObject"):
            place.cluster.apply(document)
    place.cluster.apply(bluegreen.green_of(step.document("Deployment"), step.model, step.replicas))
    place.wait_for_pods(bluegreen.green_name(step.model), step.release_id, step.budget)
    place.cluster.apply(bluegreen.to_green(step.document("Service"), step.model))
    open_door(place, step.model)
    ask(place, step, bluegreen.green_name(step.model))
    place.reporter.say("green passed its gate and serves; the model's own Deployment follows")


def prove_canary(place: Place, step: Step) -> None:
    """So many replicas first: the rollout is paused with them, and goes on when they and the gateway have answered.

    The pause is a field of the applied document, so that applying the release (here, or going back) ends it.
    """
    name, first = step.workload, step.plan.canary
    document = step.document("Deployment")
    paused = {**document, "spec": {**document["spec"], "paused": True}}
    if not (place.workload(name) or {"spec": {}})["spec"].get("paused"):
        generation = int(place.cluster.apply(document)["metadata"]["generation"])
        place.wait_until(
            lambda: _updated(place.workload(name) or {}, generation) >= first,
            place.environment.deadlines.pod_start,
            f"the Deployment {name} makes no pods of the new release",
            name,
        )
    place.cluster.apply(paused)
    place.reporter.say(f"canary: {first} of {step.replicas} replicas first, the others wait")
    place.wait_for_pods(name, step.release_id, step.budget, first=first)
    ask(place, step, name)
    place.reporter.say("canary passed its gate: the rest follows")


def _updated(workload: Mapping[str, Any], generation: int) -> int:
    status = workload.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= generation
    return int(status.get("updatedReplicas") or 0) if seen else 0


def open_door(place: Place, model: Model) -> None:
    """The API key, the model's route, the gateway. NGINX resolves the model's Service when it starts,
    so the serving documents are applied first."""
    environment, cluster = place.environment, place.cluster
    routes = gateway.apply_route(place.root, cluster, model, environment)
    for document in gateway.documents(place.root, environment, routes):
        cluster.apply(document)


def ask(place: Place, step: Step, workload: str) -> tuple[Endpoint, str]:
    """The gateway's endpoint and what a completion through it said. Raises RolloutFailed."""
    environment, cluster = place.environment, place.cluster
    endpoint = gateway.endpoint_of(
        cluster,
        environment,
        step.model,
        deadline=place.clock() + step.budget,
        clock=place.clock,
        sleep=place.sleep,
    )
    key = gateway.read_key(cluster, environment.namespace, KEY_SECRET)
    try:
        answer = gate.check_endpoint(
            endpoint.base_url,
            key,
            step.model.name,
            patience=environment.deadlines.gateway,
            clock=place.clock,
            sleep=place.sleep,
        )
    except gate.NoWayThrough as cut:
        raise network.explain(cluster, environment.namespace, workload, cut) from cut
    return endpoint, answer


def pass_gate(place: Place, step: Step) -> tuple[Rollout, list[Document]]:
    """The Deployment is complete with pods that have answered; now the gateway is asked. Raises RolloutFailed."""
    pods = place.wait_for_pods(step.workload, step.release_id, step.budget)
    endpoint, answer = ask(place, step, step.workload)
    place.reporter.say(
        f"gate passed: /health, /v1/models and a completion by each of {len(pods)} new pods, "
        f"and ({answer!r:.40}) through the gateway"
    )
    annotations = (place.workload(step.workload) or {}).get("metadata", {}).get("annotations") or {}
    rollout = Rollout(
        release_id=step.release_id,
        revision=int(annotations.get("deployment.kubernetes.io/revision", 1)),
        previous_release_id=None,
        strategy=step.plan.strategy,
        endpoint=endpoint,
        expected_gap_seconds=step.plan.downtime_seconds,
        canary=step.plan.canary,
    )
    return rollout, pods


def say_gap(place: Place, plan: Plan, measured: float | None) -> None:
    """Expected and measured, side by side."""
    if measured is None:
        return
    expected = f"about {human_seconds(plan.downtime_seconds)}" if plan.downtime_seconds else "none"
    found = f"nobody answered for {human_seconds(measured)}" if measured else "every question was answered"
    place.reporter.say(f"downtime: {found}, measured at the gateway; expected: {expected}")


def apply_namespace(root: Path, cluster: Cluster, environment: Environment) -> None:
    """The namespace and its default-deny policy: warming needs them before the rollout does."""
    for document in namespace_documents(root, environment):
        cluster.apply(document)


def namespace_documents(root: Path, environment: Environment) -> list[dict[str, Any]]:
    """The namespace, then its default-deny policy. Pure."""
    namespace, deny = load(root, "namespace/namespace.yaml"), load(root, "namespace/default-deny.yaml")
    namespace["metadata"]["name"] = environment.namespace
    deny["metadata"]["namespace"] = environment.namespace
    return [namespace, deny]


def _release_id(workload: Mapping[str, Any]) -> str | None:
    return (workload["metadata"].get("annotations") or {}).get(RELEASE_ANNOTATION)

"""One release onto the cluster: observe, choose how, write down, apply, gate; and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import resume
from tasks.rollout import gate, gateway, network
from tasks.rollout.ledger import Ledger, ReleaseRecord, Serving
from tasks.rollout.manifests import (
    COMPILE_ALLOWANCE_SECONDS,
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
from tasks.rollout.strategy import Plan, choose, free_gpus
from tasks.spec.environment import Environment
from tasks.spec.errors import RolloutFailed
from tasks.spec.model import Model
from tasks.spec.progress import Reporter
from tasks.spec.records import Rollout, WarmCache


@dataclass(frozen=True)
class Place:
    """Where a rollout happens, and who is told about it."""

    root: Path
    cluster: Cluster
    environment: Environment
    ledger: Ledger
    reporter: Reporter
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = nap


def roll_out(place: Place, model: Model, cache: WarmCache, weight_bytes: int) -> ReleaseRecord:
    """Apply the release and pass the readiness gate. The record holds the Rollout.

    What serves now is in the ledger before the first write to the workload. Raises RolloutFailed; then
    nothing has been restored yet: that is `restore`.
    """
    environment, cluster = place.environment, place.cluster
    workload = workload_name(model)
    before = cluster.get("apps/v1", "Deployment", workload, environment.namespace)
    plan = plan_rollout(place, model, before, weight_bytes)
    documents = serving(
        place.root, model, environment, cache=cache, strategy=plan.strategy, weight_bytes=weight_bytes
    )
    release = release_of(model, environment, cache, documents)
    record = ReleaseRecord(release=release, documents=tuple(stamped(documents, release)))
    known = place.ledger.begin(record)
    unchanged = before is not None and _release_id(before) == release.id
    if unchanged:
        place.reporter.say(f"release {release.id} is applied already: checking it")
    else:
        place.reporter.say(
            f"release {release.id} (bundle {release.bundle}) after {known.serving or 'nothing'}"
        )
        place.reporter.say(str(plan))
    gateway.ensure_key(cluster, environment.namespace)
    for document in record.documents:
        cluster.apply(document)
    open_door(place, model)
    resume(cluster, environment.namespace, workload, max(1, model.scaling.min_replicas))
    return pass_gate(place, model, record, plan, known, weight_bytes, unchanged=unchanged)


def plan_rollout(place: Place, model: Model, before: dict[str, Any] | None, weight_bytes: int) -> Plan:
    """The strategy for what is allocatable now."""
    environment = place.environment
    gpu = environment.cluster.gpu
    nodes = place.cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")
    pods = place.cluster.list("v1", "Pod")
    mine = gate.selector_of(before) if before else ""
    running = place.cluster.list("v1", "Pod", environment.namespace, label_selector=mine) if before else []
    on = next((p["spec"]["nodeName"] for p in running if p.get("spec", {}).get("nodeName")), None)
    return choose(
        serving_on=on,
        free=free_gpus(nodes, pods),
        gpus_needed=model.resources.gpu,
        start_seconds=start_budget_seconds(weight_bytes, environment) - COMPILE_ALLOWANCE_SECONDS,
        drain_seconds=model.engine.drain + model.engine.shutdown_timeout,
    )


def open_door(place: Place, model: Model) -> None:
    """The API key, the model's route, the gateway. NGINX resolves the model's Service when it starts,
    so the serving documents are applied first."""
    environment, cluster = place.environment, place.cluster
    routes = gateway.apply_route(place.root, cluster, model, environment)
    for document in gateway.documents(place.root, environment, routes):
        cluster.apply(document)


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


def pass_gate(
    place: Place,
    model: Model,
    record: ReleaseRecord,
    plan: Plan,
    known: Serving,
    weight_bytes: int,
    *,
    unchanged: bool,
) -> ReleaseRecord:
    """Wait for the release's pods, then ask them and the gateway. The record, with the Rollout."""
    environment, cluster = place.environment, place.cluster
    release_id, namespace = record.release.id, environment.namespace
    deadlines = environment.deadlines
    budget = deadlines.pod_start + start_budget_seconds(weight_bytes, environment)
    deadline = place.clock() + budget
    pods = gate.wait_until_complete(
        cluster,
        namespace,
        workload_name(model),
        release_id,
        deadline=deadline,
        patience=deadlines.pod_start,
        reporter=place.reporter,
        clock=place.clock,
        sleep=place.sleep,
    )
    endpoint = gateway.endpoint_of(
        cluster, environment, model, deadline=deadline, clock=place.clock, sleep=place.sleep
    )
    key = gateway.read_key(cluster, namespace, KEY_SECRET)
    try:
        answer = gate.check_endpoint(
            endpoint.base_url,
            key,
            model.name,
            patience=deadlines.gateway,
            clock=place.clock,
            sleep=place.sleep,
        )
    except gate.NoWayThrough as cut:
        raise network.explain(cluster, namespace, workload_name(model), cut) from cut
    place.reporter.say(
        f"gate passed: /health, /v1/models and a completion ({answer!r:.40}) through the gateway"
    )
    workload = cluster.get("apps/v1", "Deployment", workload_name(model), namespace) or {}
    annotations = workload.get("metadata", {}).get("annotations") or {}
    return record.model_copy(
        update={
            "rollout": Rollout(
                release_id=release_id,
                revision=int(annotations.get("deployment.kubernetes.io/revision", 1)),
                previous_release_id=known.serving if known.serving != release_id else known.previous,
                strategy=plan.strategy,
                endpoint=endpoint,
                phases=gate.start_phases(pods[0]),
                unchanged=unchanged,
            )
        }
    )


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
    if known.previous:
        return Return(known.previous, f"{known.previous} served before {known.serving}", True)
    return Return(known.serving, "no release served before this one", False)


def restore(place: Place, model: Model, wanted: str | None = None) -> Return:
    """Put back what the ledger says served before; the same call again changes nothing.

    Raises RolloutFailed when the restored release does not become ready either.
    """
    known = place.ledger.serving()
    decision = decide_return(known, wanted)
    place.reporter.say(f"going back: {decision.reason}")
    if not decision.act:
        if known.rolling:
            place.ledger.restored(known.serving)
        return decision
    namespace, workload = place.environment.namespace, workload_name(model)
    if decision.target is None:
        place.cluster.delete("keda.sh/v1alpha1", "ScaledObject", workload, namespace)
        place.cluster.delete("apps/v1", "Deployment", workload, namespace, propagation="Foreground")
        _wait_gone(place, namespace, workload)
        place.ledger.restored(None)
        return decision
    record = place.ledger.record(decision.target)
    # the strategy it was rolled out with was for that moment: a surge waits forever for a GPU the broken one holds
    before = place.cluster.get("apps/v1", "Deployment", workload, namespace)
    strategy = deployment_strategy(plan_rollout(place, model, before, 0).strategy)
    for document in record.documents:
        if document["kind"] == "Deployment":
            document = {**document, "spec": {**document["spec"], "strategy": strategy}}
        place.cluster.apply(document)
    resume(place.cluster, namespace, workload, max(1, model.scaling.min_replicas))
    gate.wait_until_complete(
        place.cluster,
        namespace,
        workload,
        decision.target,
        deadline=place.clock() + _budget_of(record.documents),
        patience=place.environment.deadlines.pod_start,
        reporter=place.reporter,
        clock=place.clock,
        sleep=place.sleep,
    )
    place.ledger.restored(decision.target, asked_for=bool(wanted))
    place.reporter.say(f"release {decision.target} serves again")
    return decision


def _budget_of(documents: Sequence[dict[str, Any]]) -> float:
    """The start-up budget is in the release itself: its Deployment's progress deadline, in seconds."""
    return float(next(d["spec"]["progressDeadlineSeconds"] for d in documents if d["kind"] == "Deployment"))


def _wait_gone(place: Place, namespace: str, workload: str) -> None:
    deadline = place.clock() + place.environment.deadlines.drain
    while place.cluster.get("apps/v1", "Deployment", workload, namespace):
        if place.clock() >= deadline:
            raise RolloutFailed(
                f"the Deployment {workload} does not go away",
                next_command=f"kubectl -n {namespace} describe deployment {workload}",
            )
        place.sleep(0.25)


def _release_id(workload: dict[str, Any]) -> str | None:
    return (workload["metadata"].get("annotations") or {}).get(RELEASE_ANNOTATION)


def remove(
    cluster: Cluster,
    environment: Environment,
    reporter: Reporter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> list[str]:
    """Take away everything served in the namespace, the gateway's load balancer too; what was removed.

    Raises RolloutFailed when something stays: load balancers and pods hold on to subnets and volumes.
    """
    namespace, removed = environment.namespace, []
    kinds = [
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("monitoring.coreos.com/v1", "PodMonitor"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "Job"),
        ("v1", "Service"),
    ]
    for api, kind in kinds:
        for item in cluster.list(api, kind, namespace):
            name = item["metadata"]["name"]
            if cluster.delete(api, kind, name, namespace, propagation="Foreground"):
                reporter.say(f"removed {kind} {name}")
                removed.append(f"{kind} {namespace}/{name}")
    deadline = clock() + environment.deadlines.drain
    while left := [
        f"{kind} {item['metadata']['name']}"
        for api, kind in [*kinds, ("v1", "Pod")]
        for item in cluster.list(api, kind, namespace)
    ]:
        if clock() >= deadline:
            raise RolloutFailed(
                f"not everything in {namespace} went away",
                evidence=left,
                next_command=f"kubectl -n {namespace} get all",
            )
        sleep(0.25)
    return removed

"""Explain a promise that was not kept: what of the scaler, the node, the pod or the Service keeps it from acting. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tasks.cloud import karpenter, objects
from tasks.drill.scaler_causes import bounds, changed_scaler, deaf, no_series, obstacle, rules, said_by_hpa
from tasks.drill.scene import Finding, Scene, pairs
from tasks.drill.stages import blocking
from tasks.records import names
from tasks.records.quantities import parse_duration

ANNOTATION = "karpenter.sh/do-not-disrupt"
Cause = Callable[[Scene], Finding | None]


def explain(scene: Scene) -> Finding:
    """The first cause that fits the stage that was not reached."""
    for cause in CAUSES[scene.stage]:
        if found := cause(scene):
            return found
    return Finding(
        f"the drill waited in vain until {scene.stage}, and nothing that it looks at says why",
        scene.kubectl(f"get scaledobject,hpa,deployment,pod -l {names.MODEL_LABEL}={scene.known.model.name}"),
        tuple(scene.details.events[-5:]),
    )


def weak_load(scene: Scene) -> Finding | None:
    """The load was not what the drill meant it to be: that says nothing about the model."""
    return Finding(
        f"the drill's load brought the demand to {scene.seen.demand or 0:g}, and the target is {scene.known.target:g}",
        f"slipway drill {scene.known.model.name} -e {scene.known.environment.name} --promise scale-out",
        tells=False,
    )


def limit(scene: Scene) -> Finding | None:
    """A NodePool at its limit."""
    limits = objects.spec(scene.details.pool).get("limits") or {}
    nodes = limits.get("nodes")
    if nodes is None or scene.details.claims < int(nodes):
        return None
    file = f"environments/{scene.known.environment.name}.yaml"
    return Finding(
        f"the NodePool {karpenter.POOL} is at its limit of {nodes} node{'s' * (int(nodes) != 1)}",
        f"raise cluster.gpu.max in {file}, then slipway deploy; or kubectl edit nodepool {karpenter.POOL}",
        tuple(scene.details.refusals),
    )


def refused(scene: Scene) -> Finding | None:
    """What Karpenter and EC2 say."""
    if not scene.details.refusals:
        return None
    cause, command = karpenter.cause_of(scene.details.refusals, scene.known.environment.name)
    return Finding(cause, command, tuple(scene.details.refusals))


def no_volume(scene: Scene) -> Finding | None:
    """A claim of the pod's that nobody can provide for: it gets no node before that."""
    warnings = [line for line in scene.details.claims_say if ": Warning " in line]
    if not warnings:
        return None
    return Finding(
        f"the second replica gets no volume: {warnings[-1]}",
        f"kubectl get storageclass; slipway deploy {scene.known.model.name} -e {scene.known.environment.name} makes its own again",
        tuple(warnings[-5:]),
    )


def no_provisioner(scene: Scene) -> Finding | None:
    """A node group, which nothing enlarges because of load."""
    if scene.known.environment.cluster.gpu.uses_karpenter:
        return None
    return Finding(
        "the second replica fits no node, and nothing enlarges the node group because of load",
        f"cluster.gpu.provisioner: karpenter in environments/{scene.known.environment.name}.yaml, or as many nodes as max_replicas",
        tuple(scene.details.events[-5:]),
    )


def pod_waits(scene: Scene) -> Finding | None:
    """What the pod's, or its ReplicaSet's, last warnings say."""
    warnings = [line for line in scene.details.events if "Warning" in line] or list(scene.details.events)
    if not warnings:
        return None
    where = {
        "made": "cannot be made",
        "node": "gets no node",
        "running": "does not start",
        "ready": "does not become Ready",
    }[scene.stage]
    name = scene.known.second or f"-l {names.MODEL_LABEL}={scene.known.model.name}"
    return Finding(
        f"the second replica {where}: {warnings[-1]}",
        scene.kubectl(f"describe pod {name}"),
        tuple(warnings[-5:]),
    )


def selector_misses(scene: Scene) -> Finding | None:
    """A Service whose selector the new pod does not have."""
    service, pod = scene.live("Service"), scene.seen.pod(scene.known.second)
    if service is None:
        return Finding(f"there is no Service {scene.workload}", scene.again)
    if pod is None:
        return None
    selector, labels = objects.spec(service).get("selector") or {}, objects.labels(pod)
    missed = {key: value for key, value in selector.items() if labels.get(key) != value}
    if not missed:
        return None
    return Finding(
        f"the Service {scene.workload} selects {pairs(missed)}, which the new replica does not have",
        scene.again,
        tuple(scene.differences("Service")),
    )


def cut_off(scene: Scene) -> Finding | None:
    """A Ready endpoint that nothing reaches."""
    changed = [
        f"{kind} {name}: {line}"
        for kind, name in scene.details.applied
        if kind in ("NetworkPolicy", "Service")
        for line in scene.differences(kind, name)
    ]
    return Finding(
        "the second replica is a ready endpoint and answers no request of the gateway",
        scene.kubectl("get networkpolicy,endpointslice"),
        tuple(changed),
    )


def budget(scene: Scene) -> Finding | None:
    """A PodDisruptionBudget that no drain gets past."""
    found = blocking(scene.known, scene.seen)
    said = [
        f"PodDisruptionBudget {objects.name(each)}: {objects.spec(each)}, disruptionsAllowed "
        f"{objects.status(each).get('disruptionsAllowed', 0)}"
        for each in scene.seen.budgets
        if objects.name(each) in found
    ]
    return Finding(
        f"{', '.join(found)} lets no replica be evicted though {len(scene.seen.pods)} run: no node can be drained",
        scene.kubectl(f"get pdb {' '.join(found)} -o yaml"),
        tuple(said),
    )


def still_loaded(scene: Scene) -> Finding | None:
    """Others ask meanwhile: that says nothing about the scaler."""
    return Finding(
        f"the demand stays at {scene.seen.demand or 0:g} without the drill's load: others use the model",
        f"slipway drill {scene.known.model.name} -e {scene.known.environment.name}",
        tells=False,
    )


def held_pod(scene: Scene) -> Finding | None:
    """A replica that is not asked for and stays."""
    return Finding(
        "the replica that nobody asks for does not go away",
        scene.kubectl(f"describe pod -l {names.MODEL_LABEL}={scene.known.model.name}"),
        tuple(scene.details.events[-5:]),
    )


def consolidation(scene: Scene) -> Finding | None:
    """A NodePool that keeps empty nodes."""
    disruption = objects.spec(scene.details.pool).get("disruption") or {}
    after = str(disruption.get("consolidateAfter", ""))
    again = f"slipway deploy {scene.known.model.name} -e {scene.known.environment.name}"
    expected = scene.known.environment.cluster.gpu.consolidate_after
    if after == "Never" or (after and parse_duration(after) > expected + 60):
        return Finding(f"the NodePool {karpenter.POOL} keeps empty nodes: consolidateAfter is {after}", again)
    for budget in disruption.get("budgets") or ():
        if str(budget.get("nodes")) in ("0", "0%") and "Empty" in (budget.get("reasons") or ["Empty"]):
            return Finding(
                f"the NodePool {karpenter.POOL} allows no empty node to go: a budget of {budget['nodes']} nodes",
                again,
            )
    return None


def kept_node(scene: Scene) -> Finding | None:
    """An annotation, or somebody's pod, that keeps the node."""
    new = [node for node in scene.details.nodes if objects.name(node) not in scene.known.nodes]
    for node in new:
        name = objects.name(node)
        if objects.annotations(node).get(ANNOTATION) == "true":
            return Finding(
                f"the node {name} has the annotation {ANNOTATION}, by which Karpenter keeps it",
                f"kubectl annotate node {name} {ANNOTATION}-; kubectl get nodepool {karpenter.POOL} -o yaml",
            )
        if pods := scene.details.on_nodes.get(name):
            return Finding(
                f"{', '.join(pods[:3])} keep{'s' * (len(pods) == 1)} the node {name}",
                f"kubectl get pods -A --field-selector spec.nodeName={name}",
                tuple(pods),
            )
    return Finding(
        "the node of the replica that went stays, though nothing runs on it",
        "kubectl describe nodeclaim; kubectl -n kube-system logs deploy/karpenter",
    )


# by the stage that was not reached, what is looked for first
CAUSES: Mapping[str, Sequence[Cause]] = {
    "scaler": (no_series, obstacle),
    "demand": (no_series, weak_load),
    "asked": (no_series, obstacle, bounds, deaf, rules, changed_scaler, said_by_hpa),
    "made": (pod_waits,),
    "node": (no_volume, limit, refused, no_provisioner, pod_waits),
    "running": (pod_waits,),
    "ready": (pod_waits,),
    "service": (selector_misses, cut_off),
    "traffic": (selector_misses, no_series, cut_off),
    "drain": (budget,),
    "calm": (no_series, still_loaded),
    "given up": (no_series, obstacle, bounds, rules, changed_scaler, said_by_hpa),
    "gone": (held_pod,),
    "node gone": (consolidation, kept_node),
}


def failed_requests(scene: Scene, failures: Mapping[str, int], of: int) -> Finding | None:
    """Requests that failed while a replica went away; None where none did."""
    if not failures:
        return None
    count = sum(failures.values())
    drain = scene.known.model.engine.drain
    deployment = scene.live("Deployment")
    changed = [line for line in scene.differences("Deployment") if "lifecycle" in line or "Grace" in line]
    sleep = next(_pre_stops(deployment), 0)
    why = (
        f"its preStop sleeps {sleep} s, and the model's file says {drain:g} s"
        if sleep < drain
        else f"its preStop sleeps {sleep} s, and the endpoints were forgotten later"
    )
    return Finding(
        f"{count} of {of} requests failed while a replica went away: {why}",
        scene.again if sleep < drain else f"raise engine.drain in models/{scene.known.model.name}.yaml",
        (*(f"{kind}: {number}" for kind, number in failures.items()), *changed),
    )


def _pre_stops(deployment: Mapping[str, Any] | None) -> Iterator[int]:
    for container in objects.spec(objects.pod_template(deployment)).get("containers") or ():
        pre_stop = (container.get("lifecycle") or {}).get("preStop") or {}
        yield int((pre_stop.get("sleep") or {}).get("seconds") or 0)

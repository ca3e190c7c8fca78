"""Explain a promise that was not kept: what of the scaler, the node, the pod or the Service keeps it from acting. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud import karpenter, objects
from tasks.cloud.autoscaler import demand_of, obstacle_of
from tasks.drill.observe import Details, Seen
from tasks.drill.stages import Known, blocking, highest
from tasks.records import names
from tasks.records.quantities import parse_duration

NEVER = 86_400.0
ANNOTATION = "karpenter.sh/do-not-disrupt"


@dataclass(frozen=True)
class Finding:
    """Why a promise was not kept, and the command that shows or ends it. `tells`: False where the drill itself could not tell."""

    cause: str
    next_command: str
    evidence: tuple[str, ...] = ()
    tells: bool = True


@dataclass(frozen=True)
class Scene:
    """All that an explanation goes by. `stage`: the key of the one that was not reached."""

    stage: str
    known: Known
    seen: Seen
    details: Details

    @property
    def workload(self) -> str:
        return names.workload(self.known.model)

    @property
    def namespace(self) -> str:
        return self.known.environment.namespace

    @property
    def again(self) -> str:
        """Applies the release's own documents again."""
        return f"slipway deploy {self.known.model.name} -e {self.known.environment.name} --from-stage rollout"

    def kubectl(self, words: str) -> str:
        return f"kubectl -n {self.namespace} {words}"

    def live(self, kind: str, name: str | None = None) -> Mapping[str, Any] | None:
        return self.details.live.get((kind, name or self.workload))

    def differences(self, kind: str, name: str | None = None) -> list[str]:
        """What of an object is not as the release applied it."""
        applied = self.details.applied.get((kind, name or self.workload))
        return differences(applied, self.live(kind, name)) if applied else []


def differences(applied: Any, live: Any, path: str = "") -> list[str]:
    """The fields of `applied` that `live` has otherwise, as lines. What only `live` has is a default or somebody's label."""
    if isinstance(applied, Mapping):
        if not isinstance(live, Mapping):
            return [f"{path or 'it'} is not there"]
        return [
            line
            for key, value in applied.items()
            for line in differences(value, live.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(applied, list) and isinstance(live, list) and len(applied) == len(live):
        return [
            line
            for index, (one, other) in enumerate(zip(applied, live, strict=True))
            for line in differences(one, other, f"{path}[{index}]")
        ]
    return [] if applied == live else [f"{path} is {live}, and the release applied {applied}"]


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


Cause = Callable[[Scene], Finding | None]


def no_series(scene: Scene) -> Finding | None:
    """Prometheus has nothing of the model: nothing that goes by it can act."""
    if scene.seen.demand is not None:
        return None
    namespace = scene.known.environment.prometheus.namespace
    if scene.seen.unanswered:
        return Finding(
            f"{scene.seen.unanswered[0]}: KEDA cannot know of load",
            f"kubectl -n {namespace} get pods",
            tuple(scene.seen.unanswered[1:]),
        )
    monitor = next((name for kind, name in scene.details.applied if kind == "PodMonitor"), "vllm")
    changed = scene.differences("PodMonitor", monitor)
    wanted = (objects.spec(scene.live("PodMonitor", monitor)).get("selector") or {}).get("matchLabels") or {}
    if scene.live("PodMonitor", monitor) is None:
        return Finding(f"there is no PodMonitor {monitor}: Prometheus scrapes no replica", scene.again)
    labels = [objects.labels(pod) for pod in scene.seen.pods]
    if not any(wanted.items() <= each.items() for each in labels):
        return Finding(
            f"the PodMonitor {monitor} selects {_pairs(wanted)}, which no replica has: Prometheus scrapes none",
            scene.again,
            tuple(changed),
        )
    return Finding(
        "the release's query has no answer at Prometheus: KEDA cannot know of load",
        f"kubectl get podmonitor -n {scene.namespace}; kubectl -n {namespace} get pods",
        tuple(changed),
    )


def obstacle(scene: Scene) -> Finding | None:
    """What KEDA and its HPA say themselves."""
    found = obstacle_of(scene.workload, scene.namespace, scene.seen.scaled, scene.seen.autoscalers)
    if found is None:
        return None
    changed = scene.differences("ScaledObject")
    why = f": {changed[0]}" if changed else ""
    return Finding(
        f"{found.cause}{why}", scene.again if changed else found.next_command, (*found.evidence, *changed)
    )


def bounds(scene: Scene) -> Finding | None:
    """A ScaledObject that lets nothing change."""
    spec = objects.spec(scene.seen.scaled)
    most, fewest = highest(scene.seen), int(spec.get("minReplicaCount") or 0)
    first = len(scene.known.first)
    if scene.stage == "asked" and most <= first:
        return Finding(
            f"the ScaledObject's maxReplicaCount is {most}, and {first} run: no load brings another",
            scene.again,
            tuple(scene.differences("ScaledObject")),
        )
    if scene.stage == "given up" and fewest > first:
        return Finding(
            f"the ScaledObject's minReplicaCount is {fewest}, and {first} ran before: the replica stays",
            scene.again,
            tuple(scene.differences("ScaledObject")),
        )
    return None


def deaf(scene: Scene) -> Finding | None:
    """KEDA hears another demand than there is."""
    triggers = objects.spec(scene.seen.scaled).get("triggers") or [{}]
    metadata = triggers[0].get("metadata") or {}
    changed = [line for line in scene.differences("ScaledObject") if ".query " in line or "Null" in line]
    if scene.details.unheard:
        return Finding(
            f"Prometheus has no answer to KEDA's query: {scene.details.unheard[-1]}",
            scene.again,
            (str(metadata.get("query")), *changed),
        )
    if scene.details.heard is None and str(metadata.get("ignoreNullValues", "true")).lower() != "false":
        return Finding(
            "KEDA's query finds no series, and ignoreNullValues takes that for no load",
            scene.again,
            (str(metadata.get("query")), *changed),
        )
    demand, heard = scene.seen.demand or 0.0, scene.details.heard or 0.0
    if changed and abs(heard - demand) > max(1.0, demand / 4):
        return Finding(
            f"KEDA's query says {heard:g} while the release's own says {demand:g}",
            scene.again,
            (str(metadata.get("query")), *changed),
        )
    return None


def rules(scene: Scene) -> Finding | None:
    """HPA behaviour that allows no step, or only one in an hour."""
    direction = "scaleUp" if scene.stage == "asked" else "scaleDown"
    advanced = objects.spec(scene.seen.scaled).get("advanced") or {}
    behavior = (advanced.get("horizontalPodAutoscalerConfig") or {}).get("behavior") or {}
    rule = behavior.get(direction) or {}
    changed = [line for line in scene.differences("ScaledObject") if direction in line]
    if rule.get("selectPolicy") == "Disabled":
        return Finding(f"the HPA's {direction} is Disabled", scene.again, tuple(changed))
    window = next((line for line in changed if "stabilizationWindowSeconds" in line), None)
    if window:
        seconds = rule.get("stabilizationWindowSeconds")
        return Finding(f"the HPA's {direction} waits {seconds} s before it acts", scene.again, tuple(changed))
    return None


def changed_scaler(scene: Scene) -> Finding | None:
    """A ScaledObject that is not the release's."""
    changed = scene.differences("ScaledObject")
    if not changed:
        return None
    return Finding(
        f"the ScaledObject is not as the release applied it: {changed[0]}", scene.again, tuple(changed)
    )


def said_by_hpa(scene: Scene) -> Finding | None:
    """The demand that the HPA read last."""
    hpa = next(iter(scene.seen.autoscalers), None)
    if hpa is None:
        return None
    return Finding(
        f"the HPA read {demand_of(hpa) or 'no demand'} a replica and changed nothing",
        scene.kubectl(f"describe hpa {objects.name(hpa)}"),
        tuple(
            f"{each['type']} {each['status']}: {each.get('message', '')}"
            for each in objects.status(hpa).get("conditions") or ()
        ),
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
        f"the Service {scene.workload} selects {_pairs(missed)}, which the new replica does not have",
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
    "node": (limit, refused, no_provisioner, pod_waits),
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


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "nothing"

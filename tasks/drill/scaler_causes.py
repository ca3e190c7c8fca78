"""Why KEDA or its HPA does not act: what Prometheus, the PodMonitor and the ScaledObject say. Pure."""

from __future__ import annotations

from tasks.cloud import objects
from tasks.cloud.autoscaler import demand_of, obstacle_of
from tasks.drill.scene import Finding, Scene, pairs
from tasks.drill.stages import highest


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
            f"the PodMonitor {monitor} selects {pairs(wanted)}, which no replica has: Prometheus scrapes none",
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

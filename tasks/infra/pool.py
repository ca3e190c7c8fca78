"""GPU nodes by Karpenter: have it make those that a model's replicas will need, take them away, remove the NodePool."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tasks.cloud import drains, karpenter, node_affinity, objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, changes, until, until_none
from tasks.infra import capacity
from tasks.infra.nodes import ISSUE_SHARE, ready_nodes
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import CapacityUnavailable, ClusterError
from tasks.records.model import Model
from tasks.records.node_count import replicas_a_node
from tasks.records.progress import Reporter

JOB_KIND = ("batch/v1", "Job")
APP = "slipway-gpu-nodes"
NAMESPACE = "kube-system"


def pods_to_ask(
    environment: Environment, model: Model, workload: Object | None, bound: int, gpus_a_node: int
) -> int:
    """Replicas that have no node yet, of those that run or are asked for, as far as `cluster.gpu.max` lets them. Pure.

    Args:
        workload: the model's Deployment.
        bound: its pods that have a node.
    """
    wanted = max(model.scaling.min_replicas, int(objects.spec(workload).get("replicas", 0)))
    most = environment.cluster.gpu.max * replicas_a_node(model.resources.gpu, gpus_a_node)
    return max(0, min(wanted, most) - bound)


def job(
    environment: Environment,
    model: Model,
    pods: int,
    root: Path,
    bound_zone: str = "",
    first: capacity.Came | None = None,
) -> Object:
    """The Job of k8s/gpu-nodes that asks for nodes for so many replicas.

    Args:
        bound_zone: of the one volume that the model reads; empty where its replicas may be in any zone.
        first: what to try before anything else.
    """
    gpu, resources = environment.cluster.gpu, model.resources
    document: Object = yaml.safe_load((root / "k8s/gpu-nodes/job.yaml").read_text())
    labels = {"app": APP, names.MODEL_LABEL: model.name}
    spec, template = document["spec"], document["spec"]["template"]
    document["metadata"] |= {"name": f"gpu-nodes-{uuid.uuid4().hex[:8]}", "labels": labels}
    spec |= {
        "parallelism": pods,
        "completions": pods,
        "activeDeadlineSeconds": math.ceil(environment.deadlines.node_boot * 2),
    }
    template["metadata"]["labels"] = labels
    template["spec"] |= {"nodeSelector": gpu.node_selector, "tolerations": [gpu.taint.toleration]}
    preferences = node_affinity.zone_preferences(gpu)
    if first:
        preferences.append(node_affinity.preference(first.labels, node_affinity.LAST_WEIGHT))
    if affinity := node_affinity.affinity(
        preferences, {node_affinity.ZONE: bound_zone} if bound_zone else None
    ):
        template["spec"]["affinity"] = affinity
    if gpu.runtime_class:
        template["spec"]["runtimeClassName"] = gpu.runtime_class
    amounts = {names.GPU: str(resources.gpu), "memory": resources.memory}
    template["spec"]["containers"][0]["resources"] = {
        "requests": amounts | {"cpu": resources.cpu},
        "limits": amounts,
    }
    return document


def bring(
    environment: Environment,
    model: Model,
    cluster: Cluster,
    gpus_a_node: int,
    root: Path,
    reporter: Reporter,
    *,
    time: Time = REAL,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    show: Callable[[Sequence[Mapping[str, Any]]], None] = lambda rows: None,
) -> list[str]:
    """Wait until every replica has a node or could have one; the names of the GPU nodes that are Ready.

    Args:
        now: the time of day, for how old a memory is.
        show: makes a table of the run of what EC2 refused and gave.

    Raises CapacityUnavailable with Karpenter's and EC2's words, ClusterError at the deadline.
    """
    remove_jobs(cluster, model)
    workload = cluster.get("apps/v1", "Deployment", names.workload(model), environment.namespace)
    serving = cluster.list("v1", "Pod", environment.namespace, label_selector=names.serving_selector(model))
    bound = sum(bool(objects.node_of(pod)) for pod in objects.living(serving))
    pods = pods_to_ask(environment, model, workload, bound, gpus_a_node)
    if pods:
        memory = environment.cluster.gpu.capacity_memory
        first = capacity.fresh(
            capacity.read(cluster.get(*karpenter.POOL_KIND, karpenter.POOL)), now(), memory
        )
        begun = f", first {first}, which came last" if first else ""
        reporter.say(f"asking Karpenter for nodes for {pods} replica{'s' if pods > 1 else ''}{begun}")
        before = {objects.name(claim) for claim in karpenter.claims(cluster)}
        document = job(environment, model, pods, root, bound_zone(environment, model, cluster), first)
        asked = cluster.apply(document)
        refused: list[str] = []
        try:
            wait_for_nodes(asked, environment, cluster, reporter, time, refused)
        finally:
            remove_jobs(cluster, model)
            new = [claim for claim in karpenter.claims(cluster) if objects.name(claim) not in before]
            show(capacity.rows(first, refused, new))
        remember(cluster, capacity.came_of(new, refused, now()), first, reporter)
    return ready_nodes(cluster, environment)


def bound_zone(environment: Environment, model: Model, cluster: Cluster) -> str:
    """The zone of the cache volume that every replica reads; empty where each has a clone or streams, or nothing is bound yet."""
    if model.scaling.max_replicas > 1 or model.weights == "stream":
        return ""
    claim = cluster.get("v1", "PersistentVolumeClaim", names.cache_claim(model), environment.namespace)
    name = objects.spec(claim).get("volumeName")
    volume = cluster.get("v1", "PersistentVolume", name) if name else None
    return node_affinity.zone_of_volume(volume) if volume else ""


def remember(
    cluster: Cluster, came: capacity.Came | None, first: capacity.Came | None, reporter: Reporter
) -> None:
    """Keep what came, with what EC2 had refused before it: of this run, or of the one whose memory it began with."""
    if came is None:
        return
    if first and not came.refused and came.labels == first.labels:
        came = came.model_copy(update={"refused": first.refused, "at": first.at})
    capacity.keep(cluster, came)
    if came.refused:
        reporter.say(f"GPU nodes: {came} came after {len(came.refused)} refusal(s)")


def wait_for_nodes(
    asked: Object,
    environment: Environment,
    cluster: Cluster,
    reporter: Reporter,
    time: Time,
    seen: list[str],
) -> None:
    """Wait until each pod of the Job has a node; what was refused meanwhile is added to `seen`.

    Raises CapacityUnavailable, ClusterError.
    """
    pods, since = int(asked["spec"]["completions"]), str(asked["metadata"]["creationTimestamp"])
    boot = environment.deadlines.node_boot
    patience_ends = time.clock() + boot * ISSUE_SHARE
    say = changes(reporter.say)
    refused: list[str] = []

    def look() -> bool:
        nonlocal refused
        selector = f"job-name={objects.name(asked)}"
        there = objects.living(cluster.list("v1", "Pod", NAMESPACE, label_selector=selector))
        waiting = [pod for pod in there if not objects.node_of(pod)]
        refused = karpenter.refusals(cluster, waiting, since)
        seen.extend(line for line in refused if line not in seen)
        if len(there) - len(waiting) >= pods:
            return True
        # what Karpenter refuses now may pass as other offerings are tried
        if refused and time.clock() >= patience_ends:
            cause, command = karpenter.cause_of(refused, environment.name)
            raise CapacityUnavailable(cause, evidence=refused, next_command=command)
        progress = [refused[0]] if refused else [stage_of(claim) for claim in karpenter.claims(cluster)]
        say(f"{len(there) - len(waiting)} of {pods} have a node" + "".join(f"; {line}" for line in progress))
        return False

    def late() -> ClusterError:
        return ClusterError(
            f"no GPU node took a pod within {boot:.0f} s",
            evidence=[*refused, *(stage_of(claim) for claim in karpenter.claims(cluster))],
            next_command="kubectl get nodeclaims; kubectl -n kube-system logs deploy/karpenter",
        )

    until(look, boot, late, time)


def stage_of(claim: Object) -> str:
    """How far a NodeClaim has come, as a line. Pure."""
    for step in ("Launched", "Registered", "Initialized"):
        found = objects.condition(claim, step)
        if found.get("status") != "True":
            return f"{objects.name(claim)}: not {step.lower()} yet: {found.get('message') or 'just made'}"
    return f"{objects.name(claim)}: initialized"


def remove_jobs(cluster: Cluster, model: Model) -> None:
    """Delete what this run, or one that was killed, asked with."""
    for found in cluster.list(
        *JOB_KIND, NAMESPACE, label_selector=f"app={APP},{names.serving_selector(model)}"
    ):
        cluster.delete(*JOB_KIND, objects.name(found), NAMESPACE)


def take_away(environment: Environment, cluster: Cluster, reporter: Reporter, *, time: Time = REAL) -> None:
    """End every GPU node that Karpenter made, now: it would wait for `consolidate_after`. Raises ClusterError at the deadline."""
    for claim in karpenter.claims(cluster):
        cluster.delete(*karpenter.CLAIM_KIND, objects.name(claim))
    wait_for_none(environment, cluster, time)
    reporter.say("no GPU node is left")


def remove(environment: Environment, cluster: Cluster, reporter: Reporter, *, time: Time = REAL) -> None:
    """Delete the NodePool, wait for its nodes, then the EC2NodeClass: while Karpenter runs, which alone ends them.

    Raises ClusterError at the deadline.
    """
    for name in karpenter.POOLS:
        if cluster.delete(*karpenter.POOL_KIND, name):
            reporter.say(f"NodePool {name} and its nodes go")
    for claim in karpenter.claims(cluster):
        cluster.delete(*karpenter.CLAIM_KIND, objects.name(claim))
    wait_for_none(environment, cluster, time)
    cluster.delete(*karpenter.CLASS_KIND, karpenter.POOL)

    def left() -> Sequence[Object]:
        found = [cluster.get(*karpenter.POOL_KIND, name) for name in karpenter.POOLS]
        return [each for each in (*found, cluster.get(*karpenter.CLASS_KIND, karpenter.POOL)) if each]

    def late(seen: Sequence[Object]) -> ClusterError:
        return ClusterError(
            f"the {seen[0]['kind']} {objects.name(seen[0])} did not go away",
            evidence=karpenter.lacking(seen[0], str(seen[0]["kind"])),
            next_command="kubectl -n kube-system logs deploy/karpenter",
        )

    until_none(left, environment.deadlines.drain, late, time)


def wait_for_none(environment: Environment, cluster: Cluster, time: Time) -> None:
    """Wait until no NodeClaim is left, and with each its node and instance. Raises ClusterError at the deadline."""

    def said_of(claim: Object) -> list[str]:
        name = objects.name(claim)
        return [name, *cluster.events(karpenter.CLUSTER_EVENTS, name)[-3:]]

    def late(seen: Sequence[Object]) -> ClusterError:
        return ClusterError(
            "GPU nodes did not go away",
            evidence=[
                *drains.blocked(cluster, environment.cluster.gpu.selector),
                *(line for claim in seen for line in said_of(claim)),
            ],
            next_command="kubectl get nodeclaims,nodes; kubectl get pdb -A; kubectl -n kube-system logs deploy/karpenter",
        )

    until_none(lambda: karpenter.claims(cluster), environment.deadlines.node_boot, late, time)

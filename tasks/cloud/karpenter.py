"""What Karpenter has in a cluster: the GPU nodes' NodePool and its NodeClaims, and why a node does not come."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object, last_seen

POOL = "slipway-gpu"  # NodePool and EC2NodeClass of k8s/gpu-nodes
BASE_POOL = "slipway-gpu-base"  # NodePool of cluster.gpu.on_demand_base
POOLS = (POOL, BASE_POOL)
POOL_KIND = ("karpenter.sh/v1", "NodePool")
CLASS_KIND = ("karpenter.k8s.aws/v1", "EC2NodeClass")
CLAIM_KIND = ("karpenter.sh/v1", "NodeClaim")
POOL_LABEL = "karpenter.sh/nodepool"
# what Karpenter writes of a NodeClaim that EC2 refuses, in the namespace of objects that have none; the claim itself is
# deleted at once, and another is made (kubernetes-sigs/karpenter, pkg/controllers/nodeclaim/lifecycle/launch.go)
REFUSED = ("InsufficientCapacityError", "NodeClassNotReady")
CLUSTER_EVENTS = "default"
UNSCHEDULABLE = "Failed to schedule pod, "


def node_role(cluster_name: str) -> str:
    """The role of the nodes, of infra/terraform/cluster. `cluster_name`: cluster.name of the environment."""
    return f"{cluster_name}-karpenter-node"


def queue(cluster_name: str) -> str:
    """The queue of EC2's interruptions, of infra/terraform/cluster."""
    return f"{cluster_name}-karpenter"


def claims(cluster: Cluster) -> list[Object]:
    """The pools' NodeClaims; none where Karpenter is not installed."""
    return cluster.list(*CLAIM_KIND, label_selector=f"{POOL_LABEL} in ({','.join(POOLS)})")


def claims_of(cluster: Cluster, pool: str) -> list[Object]:
    """One NodePool's NodeClaims."""
    return cluster.list(*CLAIM_KIND, label_selector=f"{POOL_LABEL}={pool}")


def lacking(thing: Object | None, what: str) -> list[str]:
    """Conditions that are not True of a NodePool, EC2NodeClass or NodeClaim, as lines with Karpenter's words. Pure."""
    if thing is None:
        return [f"there is no {what}"]
    found = objects.status(thing).get("conditions") or ()
    # Ready only repeats the others
    wrong = [each for each in found if each.get("status") != "True" and each["type"] != "Ready"]
    lines = [f"{what}: {each['type']}: {each.get('reason')}: {each.get('message')}" for each in wrong]
    return lines if found else [f"{what}: Karpenter has not looked at it yet"]


def refusals(cluster: Cluster, pods: Sequence[Object], since: str) -> list[str]:
    """Why the pods get no node, in Karpenter's and EC2's words; empty while nothing speaks against it.

    Args:
        pods: those without a node.
        since: events that were last seen before it (RFC 3339) are of another time.
    """
    found = {name: cluster.get(*POOL_KIND, name) for name in POOLS}
    pools = {name: pool for name, pool in found.items() if pool is not None or name == POOL}
    node_class = cluster.get(*CLASS_KIND, POOL)
    wrong = [
        line
        for name, pool in pools.items()
        if not objects.is_ready(pool)
        for line in lacking(pool, f"NodePool {name}")
    ]
    namespaces = {CLUSTER_EVENTS, *(str(pod["metadata"]["namespace"]) for pod in pods)}
    events = [event for name in sorted(namespaces) for event in cluster.list("v1", "Event", name)]
    return [
        *(lacking(node_class, f"EC2NodeClass {POOL}") + wrong if wrong else []),
        *refused_claims(events, claims(cluster), since),
        *unschedulable(events, {objects.name(pod) for pod in pods}, since),
    ]


def refused_claims(events: Sequence[Object], there: Sequence[Object], since: str) -> list[str]:
    """What EC2 said to NodeClaims: of those that are gone by their events, of the others by their condition. Pure."""
    said = [
        f"NodeClaim: {event.get('reason')}: {str(event.get('message')).partition(' event: ')[2] or event.get('message')}"
        for event in events
        if event.get("reason") in REFUSED
        and str(event["involvedObject"].get("name")).startswith(f"{POOL}-")
        and last_seen(event) >= since
    ]
    failed = [objects.condition(claim, "Launched") for claim in there]
    said += [
        f"NodeClaim: LaunchFailed: {each['message']}"
        for each in failed
        if each.get("reason") == "LaunchFailed"
    ]
    return list(dict.fromkeys(said))


def unschedulable(events: Sequence[Object], pods: Collection[str], since: str) -> list[str]:
    """Why Karpenter makes no NodeClaim for these pods, by their last event of its own. Pure."""
    found = {
        str(event["involvedObject"]["name"]): str(event["message"])
        for event in sorted(events, key=last_seen)
        if event.get("reason") == "FailedScheduling"
        and str(event["involvedObject"].get("name")) in pods
        # the scheduler writes events of that reason too
        and str(event.get("message")).startswith(UNSCHEDULABLE)
        and last_seen(event) >= since
    }
    return list(
        dict.fromkeys(f"Karpenter: {message.removeprefix(UNSCHEDULABLE)}" for message in found.values())
    )


@dataclass(frozen=True)
class Cause:
    """One reason for which no node comes. `pattern`: in one of the lines that `refusals` gives."""

    pattern: str
    cause: str
    next_command: str


# the first that matches: what ends a node's making comes before what Karpenter says of the pods because of it
CAUSES = (
    Cause(
        r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|vCPU limit",
        "no GPU node comes: the account's vCPU quota is used up",
        "aws service-quotas list-service-quotas --service-code ec2; ask for more, or lower cluster.gpu.max",
    ),
    Cause(
        r"InsufficientInstanceCapacity|UnfulfillableCapacity|InsufficientCapacityError|do not have sufficient \S+ capacity",
        "no GPU node comes: EC2 has no capacity for what cluster.gpu allows",
        "name more types in cluster.gpu.alternative_types, take capacity_type: SPOT_OR_ON_DEMAND, or try later",
    ),
    Cause(
        r"UnauthorizedOperation|AccessDenied|not authorized|NoSuchEntity|InstanceProfile",
        "no GPU node comes: a role of Karpenter's is missing or may not do it",
        "slipway drift -e {environment}; kubectl describe ec2nodeclass slipway-gpu",
    ),
    Cause(
        r"exceed limits|limits have been exhausted|limit .* reached",
        "no GPU node comes: the NodePool is at its limit, cluster.gpu.max",
        "raise cluster.gpu.max in environments/{environment}.yaml, or lower scaling.max_replicas",
    ),
    Cause(
        r"no instance type (met|satisfied|has enough)",
        "no GPU node comes: no instance type of cluster.gpu has room for a replica",
        "slipway preflight MODEL -e {environment}; lower resources in the model's file, or take a larger cluster.gpu.instance_type",
    ),
    Cause(
        r"^(EC2NodeClass|NodePool) ",
        "no GPU node comes: Karpenter cannot use the NodePool",
        "kubectl describe nodepool,ec2nodeclass slipway-gpu",
    ),
    Cause(r"", "no GPU node comes: Karpenter makes none", "kubectl -n kube-system logs deploy/karpenter"),
)


def cause_of(lines: Sequence[str], environment: str) -> tuple[str, str]:
    """(cause, next command) of what `refusals` gave. Pure."""
    found = next(each for each in CAUSES if any(re.search(each.pattern, line) for line in lines))
    return found.cause, found.next_command.format(environment=environment)

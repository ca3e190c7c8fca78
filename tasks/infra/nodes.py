"""Resize the GPU node group and wait for its nodes."""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import ClientError

from tasks.cloud import node_group, objects
from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, changes, until
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import CapacityUnavailable, CloudError, InputError
from tasks.records.model import Model
from tasks.records.node_count import nodes_for, replicas_a_node
from tasks.records.progress import Reporter
from tasks.records.results import Infrastructure

# of the time a node may take: a health issue that stands longer ends the wait
ISSUE_SHARE = 1 / 6


def decide_size(desired: int, *, at_least: int, at_most: int) -> int | None:
    """The size to ask for; None where the present one will do. Never shrinks: only scale-down does."""
    wanted = min(at_least, at_most)
    return wanted if wanted > desired else None


def count(environment: Environment, model: Model, cluster: Cluster, gpus_a_node: int) -> int:
    """The GPU nodes that the model needs now, beside what other pods hold.

    For as many replicas as run or are asked for, `scaling.min_replicas` at least, as far as `cluster.gpu.max` lets them.
    Raises InputError where that is too small for `min_replicas`.
    """
    gpu, fewest, each = environment.cluster.gpu, model.scaling.min_replicas, model.resources.gpu
    if not replicas_a_node(each, gpus_a_node):
        raise InputError(
            f"a replica of {model.name} asks for {each} GPUs, and {gpu.instance_type} has {gpus_a_node}",
            next_command="set cluster.gpu.instance_type in the environment's file, or resources.gpu in the model's",
        )
    workload = cluster.get("apps/v1", "Deployment", names.workload(model), environment.namespace)
    replicas = max(fewest, int(objects.spec(workload).get("replicas", 0)))
    held = gpus_held(ready_nodes(cluster, environment), cluster.list("v1", "Pod"), model)
    needed = nodes_for(fewest, each, gpus_a_node, held)
    if needed > gpu.max:
        raise InputError(
            f"{model.name} needs {needed} GPU nodes for {fewest} replica{'s' if fewest > 1 else ''}, and cluster.gpu.max is "
            f"{gpu.max}",
            evidence=[f"{sum(held)} GPUs of {len(held)} nodes are held by other pods"],
            next_command=f"raise cluster.gpu.max in environments/{environment.name}.yaml, or lower scaling.min_replicas in "
            f"models/{model.name}.yaml",
        )
    return min(gpu.max, nodes_for(replicas, each, gpus_a_node, held))


def gpus_held(nodes: Sequence[str], pods: Sequence[Object], model: Model) -> list[int]:
    """GPUs that pods which are not the model's ask for, on each of the nodes. Pure."""
    held = dict.fromkeys(nodes, 0)
    mine = names.model_labels(model)
    for pod in objects.living(pods):
        node = objects.node_of(pod)
        if node in held and objects.labels(pod).get(names.MODEL_LABEL) not in mine:
            held[node] += objects.gpus_requested(pod)
    return [held[node] for node in nodes]


def scale_up(
    infrastructure: Infrastructure,
    environment: Environment,
    aws: Aws,
    cluster: Cluster,
    reporter: Reporter,
    *,
    at_least: int = 1,
    time: Time = REAL,
) -> list[str]:
    """Ask for at least so many GPU nodes and wait until they are Ready; their names.

    Raises CapacityUnavailable with the node group's health, CloudError at the deadline.
    """
    group = node_group.describe(aws, infrastructure)
    size = decide_size(
        int(group["scalingConfig"]["desiredSize"]), at_least=at_least, at_most=environment.cluster.gpu.max
    )
    if size is not None and environment.existing.node_group:
        reporter.say(f"{infrastructure.gpu_node_group} has fewer nodes than {size}: its size is its owner's")
    elif size is not None:
        reporter.say(f"GPU node group {infrastructure.gpu_node_group}: asking for {size}")
        set_size(infrastructure, aws, size)
    boot = environment.deadlines.node_boot
    patience_ends = time.clock() + boot * ISSUE_SHARE
    say = changes(reporter.say)

    def look() -> list[str] | None:
        ready = ready_nodes(cluster, environment)
        if len(ready) >= at_least:
            return ready
        issues = node_group.issues(node_group.describe(aws, infrastructure))
        # an issue that an earlier try left goes away as nodes come
        if issues and time.clock() >= patience_ends:
            raise capacity(issues)
        say(f"{len(ready)} of {at_least} GPU nodes ready")
        return None

    def late() -> CloudError:
        return CloudError(
            f"no GPU node joined within {boot:.0f} s",
            next_command=f"aws eks describe-nodegroup --cluster-name {infrastructure.cluster_name} "
            f"--nodegroup-name {infrastructure.gpu_node_group}",
        )

    return until(look, boot, late, time)


def capacity(issues: list[str]) -> CapacityUnavailable:
    """The node group's health issues as an error."""
    return CapacityUnavailable(
        "EC2 gives no GPU node now",
        evidence=issues,
        next_command="try another zone or instance type (cluster.gpu.instance_type), or later",
    )


def scale_to_zero(
    infrastructure: Infrastructure,
    environment: Environment,
    aws: Aws,
    cluster: Cluster,
    reporter: Reporter,
    *,
    time: Time = REAL,
) -> None:
    """Shrink to as few GPU nodes as the environment allows, none by default. Raises CloudError at the deadline.

    A node group that exists, of somebody else's, keeps its size.
    """
    if environment.existing.node_group:
        reporter.say(f"{infrastructure.gpu_node_group} keeps its nodes: its size is its owner's")
        return
    fewest = environment.cluster.gpu.min
    set_size(infrastructure, aws, fewest)

    def few_enough() -> bool:
        return len(objects.gpu_nodes(cluster, environment)) <= fewest

    def late() -> CloudError:
        return CloudError(
            "GPU nodes did not go away",
            evidence=[objects.name(node) for node in objects.gpu_nodes(cluster, environment)],
            next_command="kubectl get nodes; kubectl get pdb -A",
        )

    until(few_enough, environment.deadlines.node_boot, late, time)
    reporter.say(f"{fewest or 'no'} GPU node is left")


def cluster_exists(name: str, aws: Aws) -> bool:
    """Whether EKS has a cluster of that name that is not being deleted."""
    with aws_errors("looking for the cluster"):
        try:
            status = aws.client("eks").describe_cluster(name=name)["cluster"]["status"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
    return bool(status not in ("DELETING", "FAILED"))


def set_size(infrastructure: Infrastructure, aws: Aws, size: int) -> None:
    """Ask EKS for `size` GPU nodes. Raises CloudError."""
    with aws_errors("changing the GPU node group's size"):
        aws.client("eks").update_nodegroup_config(
            clusterName=infrastructure.cluster_name,
            nodegroupName=infrastructure.gpu_node_group,
            scalingConfig={"desiredSize": size},
        )


def ready_nodes(cluster: Cluster, environment: Environment) -> list[str]:
    """Names of the GPU nodes that are Ready and take pods."""
    return [
        objects.name(node)
        for node in objects.gpu_nodes(cluster, environment)
        if objects.is_ready(node) and not objects.spec(node).get("unschedulable")
    ]

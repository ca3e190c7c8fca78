"""The NodePool and EC2NodeClass of k8s/gpu-nodes, completed from `cluster.gpu`, and whether Karpenter can use them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.cloud import karpenter, objects
from tasks.cloud.aws import Aws, aws_errors
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prices import instance_hour, pricing, within_ceiling
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.gpu_nodes import GpuNodes
from tasks.records.names import ENVIRONMENT_TAG, GPU
from tasks.records.progress import Reporter

Object = dict[str, Any]
CAPACITY_KEY = "karpenter.sh/capacity-type"
CAPACITY = {"ON_DEMAND": ["on-demand"], "SPOT": ["spot"], "SPOT_OR_ON_DEMAND": ["spot", "on-demand"]}


def documents(
    environment: Environment,
    zone: str,
    gpus_a_node: int,
    root: Path,
    types: Sequence[str] = (),
    ami: str = "",
) -> list[Object]:
    """EC2NodeClass and NodePools, in the order they are applied.

    Args:
        zone: of the GPU nodes and the cache volumes.
        types: instance types within the price ceiling; default: every one of `cluster.gpu`.
        ami: the image's alias with a version; default: as `cluster.gpu` has it.
    """
    gpu, folder = environment.cluster.gpu, root / "k8s" / "gpu-nodes"
    node_class: Object = yaml.safe_load((folder / "ec2nodeclass.yaml").read_text())
    node_class["spec"] |= {
        "role": karpenter.node_role(environment.cluster.name),
        "amiSelectorTerms": [{"alias": ami or gpu.ami}],
        "subnetSelectorTerms": subnets(environment),
        "securityGroupSelectorTerms": [{"tags": {"aws:eks:cluster-name": environment.eks_cluster}}],
        "tags": {
            **environment.tags,
            "Name": f"{environment.cluster.name}-gpu",
            "Project": "slipway",
            ENVIRONMENT_TAG: environment.name,
        },
    }
    node_class["spec"]["blockDeviceMappings"][0]["ebs"] |= {
        "volumeSize": f"{gpu.volume_gib}Gi",
        "iops": gpu.volume_iops,
        "throughput": gpu.volume_throughput,
    }
    pool: Object = yaml.safe_load((folder / "nodepool.yaml").read_text())
    template = pool["spec"]["template"]
    template["metadata"]["labels"] |= gpu.node_selector
    template["spec"] |= {
        "requirements": requirements(gpu, zone, types or gpu.types),
        "taints": [gpu.taint.model_dump()],
        "startupTaints": [taint.model_dump() for taint in gpu.startup_taints],
    }
    pool["spec"]["disruption"]["consolidateAfter"] = f"{gpu.consolidate_after:.0f}s"
    if not gpu.on_demand_base:
        return [node_class, limited(pool, gpu.max, gpus_a_node)]
    above = limited(pool, gpu.max - gpu.on_demand_base, gpus_a_node)
    return [node_class, base_pool(pool, gpu, gpus_a_node), above]


def affordable(environment: Environment, aws: Aws, reporter: Reporter) -> tuple[str, ...]:
    """The instance types within `cluster.gpu.price_ceiling`, by today's list prices. Raises InputError where none is."""
    gpu = environment.cluster.gpu
    if gpu.price_ceiling is None:
        return gpu.types
    client, hour = pricing(aws), {}
    with aws_errors("asking for the prices of the GPU instance types"):
        for kind in gpu.types:
            if (usd := instance_hour(client, kind, aws.region)) is not None:
                hour[kind] = usd
    found = within_ceiling(gpu.types, hour, gpu.price_ceiling)
    if not found.types:
        raise InputError(
            f"cluster.gpu.price_ceiling, {gpu.price_ceiling:g} USD an hour, is below every instance type of cluster.gpu",
            evidence=found.left_out,
            next_command=f"raise it in environments/{environment.name}.yaml, or name cheaper alternative_types",
        )
    for line in found.left_out:
        reporter.say(f"price ceiling {gpu.price_ceiling:g} USD an hour: not taken: {line}")
    return found.types


def limited(pool: Object, nodes: int, gpus_a_node: int) -> Object:
    """The NodePool with room for so many nodes. Pure."""
    limits = {"nodes": str(nodes), GPU: str(nodes * gpus_a_node)}
    return {**pool, "spec": {**pool["spec"], "limits": limits}}


def base_pool(pool: Object, gpu: GpuNodes, gpus_a_node: int) -> Object:
    """The NodePool of the nodes that are on demand whatever EC2 asks for spot.

    Karpenter fills the pool of the highest weight first, and the next one once its limit is reached or nothing of it is to be
    had (karpenter.sh/v1.14/concepts/scheduling, "Weighted NodePools"). The documented split by a label `capacity-spread`
    is a ratio, and gives a single replica to either.
    """
    base = limited(copy.deepcopy(pool), gpu.on_demand_base, gpus_a_node)
    base["metadata"]["name"] = karpenter.BASE_POOL
    base["spec"]["weight"] = 100
    for requirement in base["spec"]["template"]["spec"]["requirements"]:
        if requirement["key"] == CAPACITY_KEY:
            requirement["values"] = CAPACITY["ON_DEMAND"]
    return base


def remove_base(cluster: Cluster, made: Sequence[Object]) -> list[str]:
    """Delete the base's NodePool where the environment has none any more, or close it while it has nodes; what was done.

    Deleting a NodePool drains its nodes: a model would lose its place.
    """
    if any(document["metadata"]["name"] == karpenter.BASE_POOL for document in made):
        return []
    there = cluster.get(*karpenter.POOL_KIND, karpenter.BASE_POOL)
    if there is None:
        return []
    if claims := karpenter.claims_of(cluster, karpenter.BASE_POOL):
        cluster.patch(*karpenter.POOL_KIND, karpenter.BASE_POOL, {"spec": {"limits": {"nodes": "0"}}})
        return [
            f"NodePool {karpenter.BASE_POOL} makes no node any more; {len(claims)} stay until they are empty"
        ]
    cluster.delete(*karpenter.POOL_KIND, karpenter.BASE_POOL)
    return [f"NodePool {karpenter.BASE_POOL} is deleted"]


def requirements(gpu: GpuNodes, zone: str, types: Sequence[str]) -> list[Object]:
    """Which instances a node may be. Of the zones, pods prefer the first (tasks/cloud/node_affinity.py)."""
    return [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(types)},
        {"key": CAPACITY_KEY, "operator": "In", "values": CAPACITY[gpu.capacity_type]},
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone, *gpu.other_zones]},
    ]


def subnets(environment: Environment) -> list[Object]:
    """Those that infra/terraform/cluster has tagged, or the ones that are there already."""
    if environment.existing.network:
        return [{"id": subnet} for subnet in environment.existing.subnets]
    return [{"tags": {"karpenter.sh/discovery": environment.cluster.name}}]


def missing(cluster: Cluster, namespace: str) -> list[str]:
    """What Karpenter lacks to make a node; empty once its controller runs and takes the NodePool."""
    controller = cluster.get("apps/v1", "Deployment", "karpenter", namespace)
    if not objects.status(controller).get("availableReplicas"):
        return ["the controller karpenter is not available yet"]
    pools = {name: cluster.get(*karpenter.POOL_KIND, name) for name in karpenter.POOLS}
    # the base's is there only where the environment has one
    wrong = {
        name: pool
        for name, pool in pools.items()
        if not objects.is_ready(pool) and (pool is not None or name == karpenter.POOL)
    }
    if not wrong:
        return []
    node_class = cluster.get(*karpenter.CLASS_KIND, karpenter.POOL)
    return [
        *karpenter.lacking(node_class, f"EC2NodeClass {karpenter.POOL}"),
        *(line for name, pool in wrong.items() for line in karpenter.lacking(pool, f"NodePool {name}")),
    ]

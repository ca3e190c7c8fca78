"""The NodePool and EC2NodeClass of k8s/gpu-nodes, completed from `cluster.gpu`, and whether Karpenter can use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tasks.cloud import karpenter, objects
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.gpu_nodes import GpuNodes
from tasks.records.names import ENVIRONMENT_TAG, GPU

Object = dict[str, Any]
CAPACITY = {"ON_DEMAND": ["on-demand"], "SPOT": ["spot"], "SPOT_OR_ON_DEMAND": ["spot", "on-demand"]}


def documents(environment: Environment, zone: str, gpus_a_node: int, root: Path) -> list[Object]:
    """EC2NodeClass and NodePool, in the order they are applied. `zone`: of the GPU nodes and the cache volumes."""
    gpu, folder = environment.cluster.gpu, root / "k8s" / "gpu-nodes"
    node_class: Object = yaml.safe_load((folder / "ec2nodeclass.yaml").read_text())
    node_class["spec"] |= {
        "role": karpenter.node_role(environment.cluster.name),
        "amiSelectorTerms": [{"alias": gpu.ami}],
        "subnetSelectorTerms": subnets(environment),
        "securityGroupSelectorTerms": [{"tags": {"aws:eks:cluster-name": environment.eks_cluster}}],
        "tags": {
            **environment.tags,
            "Name": f"{environment.cluster.name}-gpu",
            "Project": "slipway",
            ENVIRONMENT_TAG: environment.name,
        },
    }
    node_class["spec"]["blockDeviceMappings"][0]["ebs"]["volumeSize"] = f"{gpu.volume_gib}Gi"
    pool: Object = yaml.safe_load((folder / "nodepool.yaml").read_text())
    template = pool["spec"]["template"]
    template["metadata"]["labels"] |= gpu.node_selector
    template["spec"] |= {"requirements": requirements(gpu, zone), "taints": [gpu.taint.model_dump()]}
    pool["spec"]["disruption"]["consolidateAfter"] = f"{gpu.consolidate_after:.0f}s"
    pool["spec"]["limits"] = {"nodes": str(gpu.max), GPU: str(gpu.max * gpus_a_node)}
    return [node_class, pool]


def requirements(gpu: GpuNodes, zone: str) -> list[Object]:
    """Which instances a node may be."""
    return [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(gpu.types)},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": CAPACITY[gpu.capacity_type]},
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
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
    pool = cluster.get(*karpenter.POOL_KIND, karpenter.POOL)
    if objects.is_ready(pool):
        return []
    node_class = cluster.get(*karpenter.CLASS_KIND, karpenter.POOL)
    return [
        *karpenter.lacking(node_class, f"EC2NodeClass {karpenter.POOL}"),
        *karpenter.lacking(pool, f"NodePool {karpenter.POOL}"),
    ]

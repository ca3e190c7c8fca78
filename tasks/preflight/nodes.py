"""Compute what a node of an instance type can give to pods, as EKS reserves it. Pure.

Formula of the EKS AMI (kubeReserved: 255 MiB + 11 MiB a pod; 6 %, 1 %, 0.5 %, 0.25 % of the cores;
evictionHard memory.available 100 MiB):
https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.records.model import Resources
from tasks.records.quantities import human_bytes, parse_quantity

MIB, GIB = 2**20, 2**30
# What DaemonSets take on a GPU node: aws-node 50m, kube-proxy 100m, ebs-csi-node 30m, eks-pod-identity-agent,
# device plugin, node-feature-discovery's worker, DCGM exporter. CPU and memory their charts request, summed and rounded up.
DAEMONSET_CPU = 0.36
DAEMONSET_MEMORY = 520 * MIB


@dataclass(frozen=True)
class InstanceType:
    """As `ec2 describe-instance-types` says it. `gpu_memory`: nominal bytes of ONE GPU; `architectures`: of its processor,
    empty where EC2 did not say."""

    name: str
    vcpus: int
    memory: int
    gpus: int
    gpu_memory: int
    gpu_name: str
    max_pods: int
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Allocatable:
    cpu: float
    memory: int
    gpus: int
    disk: int


def allocatable(instance: InstanceType, volume_gib: int) -> Allocatable:
    """What is left for the model's pods after the kubelet's reserve and the DaemonSets. `volume_gib`: the node's own disk."""
    memory = instance.memory - (255 + 11 * instance.max_pods + 100) * MIB
    return Allocatable(
        cpu=instance.vcpus - reserved_cpu(instance.vcpus) - DAEMONSET_CPU,
        # the kernel and firmware keep some of the nominal memory: about 1.6 % on Nitro instances
        memory=int(memory - 0.016 * instance.memory) - DAEMONSET_MEMORY,
        gpus=instance.gpus,
        # a tenth is kept free (evictionHard nodefs.available 10%), 1 GiB is kubeReserved
        disk=max(0, volume_gib * 9 // 10 - 1) * GIB,
    )


def reserved_cpu(vcpus: int) -> float:
    """Cores the kubelet keeps."""
    shares = (0.06, 0.01, 0.005, 0.005)
    return sum(shares[:vcpus]) + max(0, vcpus - 4) * 0.0025


def shortages(resources: Resources, room: Allocatable) -> list[str]:
    """What one replica asks for and a node cannot give; empty where it fits."""
    rows: list[tuple[str, float, float, Callable[[float], str]]] = [
        ("cpu", parse_quantity(resources.cpu), room.cpu, lambda cores: f"{cores:.2f}"),
        ("memory", parse_quantity(resources.memory), room.memory, human_bytes),
        ("nvidia.com/gpu", resources.gpu, room.gpus, lambda gpus: f"{gpus:.0f}"),
        ("ephemeral-storage", parse_quantity(resources.ephemeral_storage or "0"), room.disk, human_bytes),
    ]
    return [
        f"{name}: asks {show(wanted)}, a node can give {show(max(0, given))}"
        for name, wanted, given, show in rows
        if wanted > given
    ]

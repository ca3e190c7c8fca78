"""What an EC2 instance type gives a node, and what EKS leaves of it for pods.

Hardware figures: EC2 DescribeInstanceTypes (us-east-1). Max pods: `ENIs x (addresses per ENI - 1) + 2`, the formula behind
amazon-eks-ami's eni-max-pods.txt, capped as managed node groups cap it (110 below 30 vCPUs, else 250; EKS user guide, "Choose
an optimal EC2 node instance type"). Reservations: amazon-eks-ami's nodeadm (kube-reserved) plus the 100 MiB hard eviction
threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

EVICTION_MIB = 100
ROOT_DISK_GIB = 20  # the default disk of a managed node group


class UnknownInstanceType(LookupError):
    """The table has no such instance type."""


@dataclass(frozen=True)
class InstanceType:
    """One row: sizes in MiB, `gpu_memory_mib` of one GPU."""

    name: str
    vcpus: int
    memory_mib: int
    network_interfaces: int
    addresses_per_interface: int
    gpus: int = 0
    gpu_memory_mib: int = 0
    gpu_product: str = ""

    @property
    def max_pods(self) -> int:
        by_addresses = self.network_interfaces * (self.addresses_per_interface - 1) + 2
        return min(by_addresses, 110 if self.vcpus < 30 else 250)

    @property
    def reserved_memory_mib(self) -> int:
        return 255 + 11 * self.max_pods + EVICTION_MIB

    @property
    def reserved_cpu_millicores(self) -> int:
        """6% of the first core, 1% of the second, 0.5% of the next two, 0.25% of the rest."""
        tenths_of_percent = 60
        if self.vcpus > 1:
            tenths_of_percent += 10
        tenths_of_percent += 5 * min(max(self.vcpus - 2, 0), 2)
        reserved = float(tenths_of_percent) + 2.5 * max(self.vcpus - 4, 0)
        return int(reserved)

    def capacity(self) -> dict[str, str]:
        """The node's `status.capacity`, without extended resources."""
        return {
            "cpu": str(self.vcpus),
            "memory": f"{self.memory_mib * 1024}Ki",
            "pods": str(self.max_pods),
            "ephemeral-storage": f"{ROOT_DISK_GIB * 1024 * 1024}Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
        }

    def allocatable(self) -> dict[str, str]:
        """The node's `status.allocatable`: what the scheduler may hand out."""
        disk = ROOT_DISK_GIB * 1024**3
        return self.capacity() | {
            "cpu": f"{self.vcpus * 1000 - self.reserved_cpu_millicores}m",
            "memory": f"{(self.memory_mib - self.reserved_memory_mib) * 1024}Ki",
            "ephemeral-storage": str(disk - disk // 10 - 1024**3),  # 10% eviction, 1 GiB kube-reserved
        }


_TABLE = {
    row.name: row
    for row in (
        InstanceType("g4dn.xlarge", 4, 16384, 3, 10, 1, 16384, "Tesla-T4"),
        InstanceType("g4dn.2xlarge", 8, 32768, 3, 10, 1, 16384, "Tesla-T4"),
        InstanceType("g4dn.12xlarge", 48, 196608, 8, 30, 4, 16384, "Tesla-T4"),
        InstanceType("g5.xlarge", 4, 16384, 4, 15, 1, 22888, "NVIDIA-A10G"),
        InstanceType("g5.2xlarge", 8, 32768, 4, 15, 1, 22888, "NVIDIA-A10G"),
        InstanceType("g5.12xlarge", 48, 196608, 15, 50, 4, 22888, "NVIDIA-A10G"),
        InstanceType("g5.48xlarge", 192, 786432, 7, 50, 8, 22888, "NVIDIA-A10G"),
        InstanceType("g6.xlarge", 4, 16384, 4, 15, 1, 22888, "NVIDIA-L4"),
        InstanceType("g6.2xlarge", 8, 32768, 4, 15, 1, 22888, "NVIDIA-L4"),
        InstanceType("g6.12xlarge", 48, 196608, 8, 30, 4, 22888, "NVIDIA-L4"),
        InstanceType("g6e.xlarge", 4, 32768, 4, 15, 1, 45776, "NVIDIA-L40S"),
        InstanceType("g6e.2xlarge", 8, 65536, 4, 15, 1, 45776, "NVIDIA-L40S"),
        InstanceType("g6e.12xlarge", 48, 393216, 10, 30, 4, 45776, "NVIDIA-L40S"),
        InstanceType("p4d.24xlarge", 96, 1179648, 60, 50, 8, 40960, "NVIDIA-A100-SXM4-40GB"),
        InstanceType("p5.48xlarge", 192, 2097152, 64, 50, 8, 81920, "NVIDIA-H100-80GB-HBM3"),
        InstanceType("m5.large", 2, 8192, 3, 10),
        InstanceType("m5.xlarge", 4, 16384, 4, 15),
        InstanceType("m6i.large", 2, 8192, 3, 10),
        InstanceType("m6i.xlarge", 4, 16384, 4, 15),
        InstanceType("m6i.2xlarge", 8, 32768, 4, 15),
        InstanceType("m7i.large", 2, 8192, 3, 10),
        InstanceType("m7i.xlarge", 4, 16384, 4, 15),
        InstanceType("m7i.2xlarge", 8, 32768, 4, 15),
        InstanceType("t3.small", 2, 2048, 3, 4),
        InstanceType("t3.medium", 2, 4096, 3, 6),
        InstanceType("t3.large", 2, 8192, 3, 12),
        InstanceType("t3.xlarge", 4, 16384, 4, 15),
    )
}


def instance_type(name: str) -> InstanceType:
    """The row of that name. Raises UnknownInstanceType."""
    try:
        return _TABLE[name]
    except KeyError:
        raise UnknownInstanceType(f"the sandbox has no instance type {name!r}") from None


def known() -> tuple[InstanceType, ...]:
    """Every row."""
    return tuple(_TABLE.values())

"""What EC2 offers, as labels, and what a NodePool or NodeClaim asks of them. Pure functions.

Labels: aws/karpenter-provider-aws, pkg/providers/instancetype/types.go (computeRequirements).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from slipway_sandbox.controllers.objects import Object, matches_expression, quantity
from slipway_sandbox.nodes.instance_types import InstanceType

GPU = "nvidia.com/gpu"
AWS = "karpenter.k8s.aws"
TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"
EBS_ZONE = "topology.ebs.csi.aws.com/zone"
REGION = "topology.kubernetes.io/region"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
NODE_POOL = "karpenter.sh/nodepool"
NODE_CLASS = f"{AWS}/ec2nodeclass"
SPOT, ON_DEMAND = "spot", "on-demand"
_SCHEME = re.compile(r"([a-z]+)(-[0-9]+tb)?([0-9]+)[^.]*\.(.+)")


@dataclass(frozen=True)
class Offering:
    """One instance type in one zone, bought in one way. `price` in USD an hour."""

    type: InstanceType
    zone: str
    capacity_type: str
    price: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.type.name, self.zone, self.capacity_type

    def labels(self) -> dict[str, str]:
        return type_labels(self.type) | {
            ZONE: self.zone,
            EBS_ZONE: self.zone,
            REGION: self.zone[:-1],
            CAPACITY_TYPE: self.capacity_type,
        }


def type_labels(kind: InstanceType) -> dict[str, str]:
    """The labels of a node of that type which do not depend on where it runs."""
    found = _SCHEME.fullmatch(kind.name)
    labels = {
        TYPE: kind.name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        f"{AWS}/instance-family": kind.name.partition(".")[0],
        f"{AWS}/instance-size": kind.name.partition(".")[2],
        f"{AWS}/instance-cpu": str(kind.vcpus),
        f"{AWS}/instance-memory": str(kind.memory_mib),
        f"{AWS}/instance-hypervisor": "nitro",
        f"{AWS}/instance-tenancy": "default",
    }
    if found:
        labels[f"{AWS}/instance-category"] = found[1]
        labels[f"{AWS}/instance-generation"] = found[3]
    if kind.gpus:
        labels |= {
            f"{AWS}/instance-gpu-name": gpu_name(kind.gpu_product),
            f"{AWS}/instance-gpu-manufacturer": "nvidia",
            f"{AWS}/instance-gpu-count": str(kind.gpus),
            f"{AWS}/instance-gpu-memory": str(kind.gpu_memory_mib),
        }
    return labels


def gpu_name(product: str) -> str:
    """EC2's short name of a GPU, as Karpenter writes it: "NVIDIA-A100-SXM4-40GB" is `a100`."""
    return product.partition("-")[2].partition("-")[0].lower()


def resources(kind: InstanceType, *, allocatable: bool) -> dict[str, str]:
    """Capacity or allocatable of a node of that type, its GPUs with it."""
    amounts = kind.allocatable() if allocatable else kind.capacity()
    return amounts | ({GPU: str(kind.gpus)} if kind.gpus else {})


def satisfies(labels: Mapping[str, str], requirements: Iterable[Object]) -> bool:
    """Whether all requirements hold of these labels; Gte and Lte are Karpenter's own operators."""
    return all(_holds(labels, requirement) for requirement in requirements)


def _holds(labels: Mapping[str, str], requirement: Object) -> bool:
    operator = requirement["operator"]
    if operator not in ("Gte", "Lte"):
        return matches_expression(requirement, labels)
    value, bound = labels.get(requirement["key"], ""), int(requirement["values"][0])
    if not value.isdigit():
        return False
    return int(value) >= bound if operator == "Gte" else int(value) <= bound


def is_well_known(key: str) -> bool:
    """A label whose values the instance gives; any other comes from the NodePool alone."""
    return key in _WELL_KNOWN or key.startswith(f"{AWS}/instance-")


_WELL_KNOWN = {
    TYPE,
    ZONE,
    EBS_ZONE,
    REGION,
    CAPACITY_TYPE,
    NODE_POOL,
    NODE_CLASS,
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "topology.k8s.aws/zone-id",
}


@dataclass(frozen=True)
class Pool:
    """A NodePool that is ready, what EC2 offers for it now, and what its limits still allow (None: everything)."""

    raw: Object
    offerings: Sequence[Offering]
    remaining: Mapping[str, Decimal] | None = None

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def weight(self) -> int:
        return int(self.raw["spec"].get("weight") or 0)

    @property
    def template(self) -> Object:
        spec: Object = self.raw["spec"]["template"]["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        metadata = self.raw["spec"]["template"].get("metadata") or {}
        return {
            **(metadata.get("labels") or {}),
            NODE_POOL: self.name,
            NODE_CLASS: self.template["nodeClassRef"]["name"],
        }

    def custom(self, pod: Object) -> dict[str, str] | str:
        """Labels for the NodePool's requirements on keys of the user's own; what differs where the pod selects otherwise.

        In upstream's words (pkg/scheduling/requirements.go, Compatible).
        """
        values = {key: [value] for key, value in self.labels.items()}
        requirements = [r for r in self.template["requirements"] if not is_well_known(r["key"])]
        values |= {r["key"]: list(r["values"]) for r in requirements if r["operator"] == "In"}
        open_keys = {r["key"] for r in requirements} - set(values)
        wanted = pod["spec"].get("nodeSelector") or {}
        for key, value in sorted(wanted.items()):
            if is_well_known(key) or key in open_keys or value in values.get(key, []):
                continue
            if key not in values:
                return f'label "{key}" does not have known values'
            return f"key {key}, {key} In [{value}] not in {key} In [{' '.join(sorted(values[key]))}]"
        return {
            r["key"]: wanted.get(r["key"]) or r["values"][0] for r in requirements if r["operator"] == "In"
        }

    def suitable(self) -> list[Offering]:
        """The offerings its own requirements allow, the cheapest first."""
        requirements = [r for r in self.template["requirements"] if is_well_known(r["key"])]
        fitting = [o for o in self.offerings if satisfies(self.labels | o.labels(), requirements)]
        return sorted(fitting, key=lambda o: (o.price, o.key))


def within(kind: InstanceType, remaining: Mapping[str, Decimal] | None) -> bool:
    """Whether one more node of that type stays within what is left of a NodePool's limits."""
    if remaining is None:
        return True
    capacity = {name: quantity(amount) for name, amount in resources(kind, allocatable=False).items()}
    capacity["nodes"] = Decimal(1)
    return all(capacity.get(name, Decimal(0)) <= left for name, left in remaining.items())

"""The GPU nodes of an environment: who makes them, of what types, with which label and taint. Part of its file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.records.quantities import Seconds
from tasks.records.record import Record


class Taint(Record):
    """One taint; `effect` in Kubernetes' spelling."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"

    @property
    def eks_effect(self) -> str:
        """The same effect as EKS and terraform spell it."""
        return {
            "NoSchedule": "NO_SCHEDULE",
            "PreferNoSchedule": "PREFER_NO_SCHEDULE",
            "NoExecute": "NO_EXECUTE",
        }[self.effect]

    @property
    def toleration(self) -> dict[str, str]:
        """The toleration that matches exactly this taint."""
        operator = {"operator": "Equal", "value": self.value} if self.value else {"operator": "Exists"}
        return {"key": self.key, **operator, "effect": self.effect}


# settings of GpuNodes that act with one provisioner alone
OF_NODE_GROUP = ("min", "desired")
OF_KARPENTER = (
    "alternative_types",
    "other_zones",
    "price_ceiling",
    "capacity_memory",
    "consolidate_after",
    "ami",
    "on_demand_base",
    "smoke",
    "startup_taints",
)


class GpuNodes(Record):
    """The GPU nodes. Their label and taint are the one place the pods' selector and toleration come from.

    They are in one zone, as a cache volume is; in `other_zones` too for replicas that start on clones of its snapshot.
    """

    provisioner: Literal["karpenter", "node-group"] | None = Field(
        None,
        description="karpenter: a node for each pod that fits nowhere, also those that KEDA adds; node-group: an EKS node group "
        "that the flows resize; default: node-group in an existing cluster and where min or desired is set, else karpenter",
    )
    zone: str | None = Field(None, description="one of the cluster's zones; default: the first")
    other_zones: tuple[str, ...] = Field(
        (),
        description="zones to take where `zone` has no capacity, for models whose replicas clone a snapshot (cache.snapshot); a "
        "model that reads its one cache volume stays in the volume's zone",
    )
    instance_type: str = "g5.2xlarge"
    alternative_types: tuple[str, ...] = Field(
        (), description="types that will do as well; Karpenter takes the cheapest that EC2 has"
    )
    capacity_type: Literal["ON_DEMAND", "SPOT", "SPOT_OR_ON_DEMAND"] = Field(
        "ON_DEMAND", description="SPOT_OR_ON_DEMAND, of Karpenter's: spot where EC2 has it"
    )
    price_ceiling: float | None = Field(
        None,
        gt=0,
        description="USD an hour that one node may cost, by its list price on demand, also where it is spot; dearer types are left out",
    )
    capacity_memory: Seconds = Field(
        3600.0,
        ge=0,
        description="how long the next run begins with the type, zone and market that came last, where EC2 had refused others",
    )
    on_demand_base: int = Field(
        0,
        ge=0,
        description="so many of the nodes are on demand, the first to come and to stay through every reclaim; those above it are "
        "of capacity_type, SPOT or SPOT_OR_ON_DEMAND",
    )
    min: int = Field(0, ge=0)
    max: int = Field(2, ge=1)
    desired: int = Field(1, ge=0, description="nodes that deploy and wake ask for at least")
    label_key: str = "workload"
    label_value: str = "inference-gpu"
    taint: Taint = Taint(key="nvidia.com/gpu", value="true", effect="NoSchedule")
    startup_taints: tuple[Taint, ...] = Field(
        (),
        description="taints that a node of Karpenter's begins with and that a DaemonSet of yours takes off once the node may be used",
    )
    smoke: bool = Field(
        False,
        description="test the GPUs of each new node before a model is placed there, by nvidia-smi, memory and one matrix product in "
        "the serving image; a node that fails is cordoned",
    )
    runtime_class: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$",
        description="runtimeClassName of pods that use GPUs; default: the runtime that the node is set to",
    )
    volume_gib: int = Field(100, ge=20, description="the node's own gp3 disk")
    volume_iops: int = Field(
        6000, ge=3000, le=16000, description="3000 are free; unpacking an image needs them"
    )
    volume_throughput: int = Field(
        600, ge=125, le=1000, description="MiB/s; 125 are free, and parallel image pulls want 600"
    )
    consolidate_after: Seconds = Field(
        600.0,
        ge=1,
        description="how long a node that Karpenter made stays without a pod; below the time a model takes to load, a node goes "
        "that the next replica would have used",
    )
    ami: str = Field(
        "al2023@latest",
        pattern=r"^al2023@(latest|v\d{8})$",
        description="alias of EKS's image for Karpenter's nodes: latest is the version that EKS recommends when the environment is "
        "deployed, for every node until the next deploy; a version such as al2023@v20261105 stays",
    )

    @model_validator(mode="after")
    def _settings_of_the_provisioner(self) -> Self:
        """Refuse a setting that does nothing with the provisioner."""
        idle = OF_NODE_GROUP if self.uses_karpenter else OF_KARPENTER
        given = [name for name in idle if name in self.model_fields_set]
        if given:
            chosen = "karpenter" if self.uses_karpenter else "node-group"
            raise ValueError(f"{given[0]} does nothing with provisioner: {chosen}: leave it out")
        if self.capacity_type == "SPOT_OR_ON_DEMAND" and not self.uses_karpenter:
            raise ValueError("capacity_type SPOT_OR_ON_DEMAND needs provisioner: karpenter")
        if self.on_demand_base and self.capacity_type == "ON_DEMAND":
            raise ValueError(
                "on_demand_base is below spot nodes, and capacity_type is ON_DEMAND: leave it out"
            )
        if self.other_zones and not self.zone:
            raise ValueError("other_zones are those after zone: name that too")
        if self.zone in self.other_zones:
            raise ValueError(f"other_zones names {self.zone}, which is zone")
        if self.on_demand_base >= self.max:
            raise ValueError(
                f"on_demand_base {self.on_demand_base} leaves no node to spot: max is {self.max}"
            )
        return self

    @property
    def uses_karpenter(self) -> bool:
        if self.provisioner:
            return self.provisioner == "karpenter"
        return not self.model_fields_set.intersection(OF_NODE_GROUP)

    @property
    def types(self) -> tuple[str, ...]:
        """Every instance type a node may be of."""
        return (self.instance_type, *(kind for kind in self.alternative_types if kind != self.instance_type))

    @property
    def selector(self) -> str:
        """The label selector of the GPU nodes."""
        return f"{self.label_key}={self.label_value}"

    @property
    def node_selector(self) -> dict[str, str]:
        """A pod's nodeSelector for the GPU nodes."""
        return {self.label_key: self.label_value}

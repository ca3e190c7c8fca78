"""WHAT an environment finds in the account and uses as it is: cluster, network, buckets, key, Prometheus."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.records.record import Record

SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")]


class PrometheusServer(Record):
    """A Prometheus: a Service of the cluster, or a URL that pods of the cluster reach."""

    namespace: str = Field("monitoring", description="where the pods run that scrape vLLM")
    service: str | None = None
    port: int = 9090
    url: str | None = Field(None, pattern=r"^https?://")
    pod_labels: dict[str, str] = Field(
        {"app.kubernetes.io/name": "prometheus"},
        description="of the pods that scrape; the network policy of vLLM lets no other in",
    )
    monitor_labels: dict[str, str] = Field(
        {}, description="what its podMonitorSelector and serviceMonitorSelector ask for"
    )
    rule_labels: dict[str, str] = Field(
        {}, description="what its ruleSelector asks for; default: monitor_labels"
    )

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.service is None) == (self.url is None):
            raise ValueError("name either service or url")
        return self

    @property
    def address(self) -> str:
        """Its URL inside the cluster: what KEDA asks."""
        return (self.url or f"http://{self.service}.{self.namespace}.svc.cluster.local:{self.port}").rstrip(
            "/"
        )


# what k8s/addons installs
OWN_PROMETHEUS = PrometheusServer(
    service="kube-prometheus-stack-prometheus", monitor_labels={"release": "kube-prometheus-stack"}
)


class Existing(Record):
    """What is used as it is: read, and never changed or deleted. What is not named here is made."""

    cluster: str | None = Field(None, description="an EKS cluster: no VPC and no control plane is made")
    node_group: str | None = Field(
        None, description="its GPU node group, whose size is its owner's; default: one is made"
    )
    vpc: str | None = Field(
        None,
        pattern=r"^vpc-[0-9a-f]+$",
        description="cluster and nodes are made in its private subnets",
    )
    subnets: tuple[SubnetId, ...] = Field(
        (), description="private subnets for cluster and nodes, or for GPU nodes"
    )
    address_ranges: tuple[str, ...] = Field((), description="of the VPC; default: read from AWS")
    model_bucket: bool = Field(False, description="storage.model_bucket is there, with its own settings")
    state_bucket: bool = Field(False, description="storage.state_bucket is there, with its own settings")
    kms_key: str | None = Field(
        None,
        pattern=r"^arn:[^:]+:kms:[^:]+:\d{12}:key/",
        description="key of the models; default: one is made, or that of the model bucket that is there",
    )
    prometheus: PrometheusServer | None = Field(
        None, description="queries and KEDA go to it, and none is installed"
    )

    @model_validator(mode="after")
    def _that_fit_together(self) -> Self:
        if self.node_group and not self.cluster:
            raise ValueError("node_group is one of an existing cluster: name it in cluster")
        if self.cluster and self.vpc:
            raise ValueError(
                "cluster brings its VPC: leave vpc out, and name subnets to choose among its own"
            )
        return self

    @property
    def network(self) -> bool:
        """Whether the VPC is somebody else's."""
        return bool(self.cluster or self.vpc or self.subnets)


class IamSettings(Record):
    """What an organisation asks of every IAM role."""

    path: str = Field("/", pattern=r"^/([!-~]*/)?$")
    permissions_boundary: str | None = Field(None, pattern=r"^arn:[^:]+:iam::(\d{12}|aws):policy/")

"""The product's own clients, connected to a sandbox without the process's environment."""

from __future__ import annotations

from slipway_sandbox.testing import EksCluster, Sandbox

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster, connect
from tasks.records.results import Infrastructure

NAMESPACE = "llm"


def aws_over(sandbox: Sandbox, region: str | None = None) -> Aws:
    """AWS clients of the sandbox, configured as the product configures them."""
    made = Aws(region or sandbox.region)
    made.session = sandbox.session(region)
    return made


def infrastructure_of(eks: EksCluster) -> Infrastructure:
    """What terraform would have said of the cluster."""
    described = eks.describe()
    return Infrastructure(
        cluster_name=eks.name,
        endpoint=described["endpoint"],
        certificate_authority=described["certificateAuthority"]["data"],
        region=eks.sandbox.region,
        gpu_node_group="gpu",
    )


def connected(eks: EksCluster) -> Cluster:
    """The product's client of the cluster, with the namespace for models made."""
    cluster = connect(infrastructure_of(eks), aws_over(eks.sandbox))
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return cluster

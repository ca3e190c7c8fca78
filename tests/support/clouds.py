"""The product's own clients, connected to a sandbox without the process's environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import EksCluster, Sandbox, start

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster, connect
from tasks.records.results import Infrastructure

NAMESPACE = "llm"
ACCOUNT = "123456789012"  # of every sandbox


def client_of(sandbox: Sandbox, account: str, service: str) -> Any:
    """A boto3 client with credentials of another account of the same AWS."""
    role = f"arn:aws:iam::{account}:role/stranger"
    keys = sandbox.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return sandbox.session().client(
        service,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


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


@contextmanager
def without_nodes(folder: Path) -> Iterator[EksCluster]:
    """A sandbox of its own with a cluster that has the EBS CSI driver and no node yet."""
    with start(folder, parts=("aws", "region")) as running:
        made = running.make_cluster("rollout-test")
        made.add_addon("eks-pod-identity-agent")
        made.add_addon("aws-ebs-csi-driver", "ebs-csi-controller-sa")
        yield made

"""Two sandboxes for the stages' tests: AWS alone, and one with a cluster; and the product's clients of each."""

from __future__ import annotations

import uuid

import pytest
from slipway_sandbox.testing import EksCluster, Sandbox

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tests.support.clouds import NAMESPACE, aws_over, connected


@pytest.fixture(scope="session")
def stage_aws(sandbox_aws: Sandbox) -> Aws:
    """The product's clients of an AWS without a region behind it."""
    return aws_over(sandbox_aws)


@pytest.fixture
def bucket(stage_aws: Aws) -> str:
    name = f"stage-{uuid.uuid4().hex[:12]}"
    stage_aws.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def sandbox(sandbox_cluster: EksCluster) -> Sandbox:
    """The sandbox of `cluster`; a folder or a file may have another."""
    return sandbox_cluster.sandbox


@pytest.fixture(scope="session")
def cluster(sandbox_cluster: EksCluster) -> Cluster:
    """A cluster with one GPU node and the EBS CSI driver, in which warm jobs may read models."""
    sandbox_cluster.sandbox.client("eks").create_pod_identity_association(
        clusterName=sandbox_cluster.name,
        namespace=NAMESPACE,
        serviceAccount="model-cache",
        roleArn=sandbox_cluster.role,
    )
    return connected(sandbox_cluster)


@pytest.fixture
def aws(sandbox: Sandbox) -> Aws:
    """The product's clients of this test's sandbox."""
    return aws_over(sandbox)

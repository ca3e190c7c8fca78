"""Beside what exists already: a cluster with a Prometheus and a KEDA of somebody else's, a VPC, buckets and keys.

All of it stays as it was, byte and tag.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster

from tests.support.clouds import client_of
from tests.support.commands import PATIENCE
from tests.support.existing import (
    BESIDE,
    PROMETHEUS,
    THEIRS,
    add_environment,
    bucket_as_it_is,
    key_as_it_is,
    make_bucket,
    make_key,
    platform_cluster,
    versions_in,
)
from tests.support.project import Project

pytestmark = pytest.mark.long

WITHIN = "within"
DELETED = ("--models", "delete", "--volumes", "delete")
REFUSED = 3


@pytest.fixture(scope="module")
def shared(project: Project, tmp_path_factory: pytest.TempPathFactory) -> EksCluster:
    return platform_cluster(project, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def key(project: Project) -> str:
    return make_key(project)


def objects_of(project: Project, path: str) -> list[Any]:
    """What somebody wrote of the objects at a path: no status, and nothing that a controller counts."""
    with project.sandbox.api("shared") as api:
        items = api.get(path).raise_for_status().json()["items"]
    return [
        {
            "name": item["metadata"]["name"],
            "labels": item["metadata"].get("labels"),
            "annotations": item["metadata"].get("annotations"),
            "spec": item.get("spec"),
            "data": item.get("data"),
        }
        for item in items
    ]


def scaled_object(project: Project) -> dict[str, Any]:
    with project.sandbox.api("shared") as api:
        path = "/apis/keda.sh/v1alpha1/namespaces/llm-beside/scaledobjects/vllm-tiny-llama"
        found: dict[str, Any] = api.get(path).raise_for_status().json()
    return found


def is_ready(scaled: dict[str, Any]) -> bool:
    """Whether KEDA gets the figure it scales by."""
    conditions = scaled["status"].get("conditions") or ()
    return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


def everything_of_theirs(project: Project, shared: EksCluster) -> dict[str, Any]:
    """All that must be the same afterwards, byte and tag."""
    ec2, eks, iam = (project.client(name) for name in ("ec2", "eks", "iam"))
    vpc = shared.describe()["resourcesVpcConfig"]["vpcId"]
    in_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    group = eks.describe_nodegroup(clusterName="shared", nodegroupName="system")["nodegroup"]
    return {
        "cluster": shared.describe(),
        "node group": {
            key: group.get(key) for key in ("scalingConfig", "labels", "taints", "tags", "version")
        },
        "node groups": eks.list_nodegroups(clusterName="shared")["nodegroups"],
        "add-ons": [
            eks.describe_addon(clusterName="shared", addonName=name)["addon"]["addonVersion"]
            for name in eks.list_addons(clusterName="shared")["addons"]
        ],
        "identities": eks.list_pod_identity_associations(clusterName="shared")["associations"],
        "vpc": ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"],
        "subnets": [(s["SubnetId"], s.get("Tags")) for s in ec2.describe_subnets(Filters=in_vpc)["Subnets"]],
        "routes": ec2.describe_route_tables(Filters=in_vpc)["RouteTables"],
        "role": iam.get_role(RoleName="shared")["Role"],
        "namespaces": [item["name"] for item in objects_of(project, "/api/v1/namespaces")],
        "storage classes": objects_of(project, "/apis/storage.k8s.io/v1/storageclasses"),
        "volumes": objects_of(project, "/api/v1/persistentvolumes"),
        **{
            f"{kind} of {namespace}": objects_of(project, f"/{group}/namespaces/{namespace}/{kind}")
            for namespace in ("scaling", "o11y", "kube-system")
            for group, kind in (
                ("apis/apps/v1", "deployments"),
                ("api/v1", "secrets"),
                ("api/v1", "configmaps"),
            )
        },
    }


@pytest.fixture(scope="module")
def beside(project: Project, shared: EksCluster, key: str) -> Iterator[dict[str, Any]]:
    """What was theirs before; Slipway's part is torn down at the end, where a test has not done it."""
    before = everything_of_theirs(project, shared) | {"key": key_as_it_is(project, key)}
    add_environment(project.home, BESIDE, 10, {"cluster": "shared", "prometheus": PROMETHEUS, "kms_key": key})
    yield before
    project.run("teardown", "-e", BESIDE, *DELETED).succeeded()


def test_a_model_is_served_in_somebody_elses_cluster_with_its_prometheus_and_keda(
    project: Project, shared: EksCluster, beside: dict[str, Any], key: str
) -> None:
    said = project.run("deploy", "tiny-llama", "-e", BESIDE).succeeded().output
    assert default_key_of(project, f"slipway-{BESIDE}-models") == key
    assert "keda: Deployment scaling/keda-operator of helm release scaling/scaler: taken as it is" in said
    assert "kube-prometheus-stack: existing.prometheus is http://prom-kube-prometheus-stack" in said
    assert project.client("eks").list_clusters()["clusters"].count("slipway-beside") == 0
    scaled = scaled_object(project)
    address = scaled["spec"]["triggers"][0]["metadata"]["serverAddress"]
    assert address == "http://prom-kube-prometheus-stack-prometheus.o11y.svc.cluster.local:9090"
    deadline = time.monotonic() + PATIENCE
    while not is_ready(scaled):  # their KEDA asks again every 15 s
        assert time.monotonic() < deadline, scaled["status"]
        time.sleep(1)
        scaled = scaled_object(project)


def test_it_is_scaled_to_zero_by_their_metrics_and_woken(project: Project, beside: dict[str, Any]) -> None:
    time.sleep(7)  # the model's idle_after, and the scrapes until the last request is seen
    idle = project.run("scale-down", "tiny-llama", "-e", BESIDE).succeeded().output
    assert "scaled to zero" in idle
    assert "answers" in project.run("wake", "tiny-llama", "-e", BESIDE).succeeded().output


def default_key_of(project: Project, bucket: str) -> str:
    found = project.client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    return str(found["Rules"][0]["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def test_a_teardown_leaves_what_was_theirs_as_it_was(
    project: Project, shared: EksCluster, beside: dict[str, Any], key: str
) -> None:
    said = project.run("teardown", "-e", BESIDE, *DELETED).succeeded().output
    assert "nothing is left" in said
    assert "keda stays: Deployment scaling/keda-operator of helm release scaling/scaler" in said
    assert "the cluster shared stays: it was there before" in said
    assert f"the key {key} stays: it was there before" in said
    after = everything_of_theirs(project, shared) | {"key": key_as_it_is(project, key)}
    assert {what: after[what] for what in beside if after[what] != beside[what]} == {}


def test_a_vpc_and_buckets_of_theirs_are_used_and_stay_byte_and_tag(
    project: Project, shared: EksCluster, key: str
) -> None:
    models, states = (make_bucket(project, f"platform-{what}", key) for what in ("models", "states"))

    def theirs() -> dict[str, Any]:
        buckets = {name: bucket_as_it_is(project, name) for name in (models, states)}
        return everything_of_theirs(project, shared) | {"key": key_as_it_is(project, key)} | buckets

    before = theirs()
    existing = {"subnets": list(shared.subnets), "model_bucket": True, "state_bucket": True}
    add_environment(
        project.home, WITHIN, 20, existing, storage={"model_bucket": models, "state_bucket": states}
    )
    project.run("deploy", "tiny-llama", "-e", WITHIN).succeeded()
    made = project.client("eks").describe_cluster(name="slipway-within")["cluster"]
    assert set(made["resourcesVpcConfig"]["subnetIds"]) == set(shared.subnets)
    weights = [path for path, *_ in versions_in(project, models) if path.endswith(".safetensors")]
    assert weights
    assert project.client("s3").head_object(Bucket=models, Key=weights[0])["SSEKMSKeyId"] == key
    said = project.run("teardown", "-e", WITHIN, *DELETED).succeeded().output
    assert "nothing is left" in said
    assert f"the model bucket {models}, with all that is in it, stays: it was there before" in said
    assert {path for path, *_ in versions_in(project, states)} == set(THEIRS)
    after = theirs()
    assert {what: after[what] for what in before if after[what] != before[what]} == {}


def refused(project: Project, existing: dict[str, Any], said: str, **more: Any) -> None:
    """A deploy is refused by preflight, and no bucket is made for it."""
    add_environment(project.home, "refused", 30, existing, **more)
    buckets = project.client("s3").list_buckets()["Buckets"]
    project.run("deploy", "tiny-llama", "-e", "refused").refused(REFUSED, said)
    assert project.client("s3").list_buckets()["Buckets"] == buckets


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        ({"cluster": "elsewhere"}, "there is no EKS cluster elsewhere"),
        ({"subnets": ["subnet-0123"]}, "there is no subnet subnet-0123"),
        (
            {"kms_key": "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"},
            "there is no key",
        ),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_made(
    project: Project, existing: dict[str, Any], said: str
) -> None:
    refused(project, existing, said)


def test_a_disabled_key_is_refused_before_anything_is_made(project: Project) -> None:
    key = make_key(project, disabled=True)
    refused(project, {"kms_key": key}, f"error: .*{key} is Disabled")


def test_a_bucket_whose_own_key_is_disabled_is_refused_before_anything_is_made(project: Project) -> None:
    bucket = make_bucket(project, "platform-sealed", make_key(project, disabled=True))
    before = bucket_as_it_is(project, bucket)
    refused(project, {"model_bucket": True}, "error: .* is Disabled", storage={"model_bucket": bucket})
    assert bucket_as_it_is(project, bucket) == before


@pytest.mark.parametrize("which", ["model_bucket", "state_bucket"])
def test_a_bucket_of_another_account_is_refused_before_anything_is_made(project: Project, which: str) -> None:
    strange = client_of(project.sandbox, "999988887777", "s3")
    name = f"strangers-{which.replace('_', '-')}"
    strange.create_bucket(Bucket=name)
    strange.put_object(Bucket=name, Key="theirs", Body=b"theirs")
    refused(project, {which: True}, f"error: .*{name} belongs to another account", storage={which: name})
    assert [each["Key"] for each in strange.list_objects_v2(Bucket=name)["Contents"]] == ["theirs"]

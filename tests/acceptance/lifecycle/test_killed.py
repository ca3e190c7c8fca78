"""One deploy, stopped in every stage, the same command after each: it ends well, and nothing is there twice.

kill -9 of the run, of the run with its terraform or helm, Ctrl-C, and EC2 without a GPU.
"""

from __future__ import annotations

from collections import Counter

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import BUCKET, CLUSTER, ENVIRONMENT, STATE, Command, Region

DEPLOY = ("deploy", "tiny-llama", "-e", ENVIRONMENT)
PENDING_SECONDS = 60.0  # longer than it takes to see it and kill


@pytest.fixture(scope="module")
def survived(region: Region) -> str:
    """One deploy, stopped and started again through all of its stages; what the last one said."""
    faults = region.faults
    in_storage(region.start(*DEPLOY)).kill()
    faults.set("hub-slow", value=700_000)  # bytes a second and connection: staging outlasts the cluster
    in_cluster(region, region.start(*DEPLOY)).cut_power()
    in_staging(region.start(*DEPLOY)).kill()
    faults.clear()
    faults.set("capacity", target="g5.2xlarge")
    region.run(*DEPLOY).refused(1, "error: EC2 gives no GPU node now", "InsufficientInstanceCapacity")
    faults.clear()
    ctrl_c(after_cluster(region.start(*DEPLOY)))
    in_add_on(region, region.start(*DEPLOY)).cut_power()
    assert "pending-install" in releases(region).values()  # what the next run has to repair
    faults.clear("api-slow")
    in_warming(region.start(*DEPLOY)).kill()
    in_rollout(faults, region.start(*DEPLOY)).kill()
    in_validation(region.start(*DEPLOY)).kill()
    return region.run(*DEPLOY).succeeded().output


def ctrl_c(command: Command) -> None:
    took = command.interrupt()
    assert took < 60, command.output
    assert command.process.returncode == 130, command.output
    assert "error: interrupted" in command.output
    assert "Traceback" not in command.output


def after_cluster(command: Command) -> Command:
    """While it asks for GPU nodes: the node group itself is there, without a node."""
    command.wait_for(r"cluster: plan: ")
    return command


def in_storage(command: Command) -> Command:
    command.wait_for(r"storage: aws_s3_bucket\.models: Creation complete")
    return command


def in_cluster(region: Region, command: Command) -> Command:
    eks = region.client("eks")
    command.wait_until(lambda: CLUSTER in eks.list_clusters()["clusters"], "cluster in EKS")
    assert eks.describe_cluster(name=CLUSTER)["cluster"]["status"] == "CREATING"
    return command


def in_staging(command: Command) -> Command:
    command.wait_for(r"staging: .* of 22\.9 MiB \((?!100)")
    return command


def in_add_on(region: Region, command: Command) -> Command:
    """While helm installs: its last write, that the release is deployed, is held back, so it stays pending."""
    region.faults.set("api-slow", target="PUT secrets", value=PENDING_SECONDS)

    with region.api() as api:

        def caught() -> bool:
            found = api.get("/api/v1/secrets", params={"labelSelector": "owner=helm,status=pending-install"})
            return bool(found.json()["items"])

        command.wait_until(caught, "pending helm release")
    return command


def in_warming(command: Command) -> Command:
    command.wait_for(r"warming: job warm-")
    return command


def in_rollout(faults: Faults, command: Command) -> Command:
    faults.set("engine-slow-load", value=4, count=1)
    command.wait_for(r"rollout: pods of release \w+: loading")
    return command


def in_validation(command: Command) -> Command:
    command.wait_for(r"validation: \d+ of \d+ requests")
    return command


def releases(region: Region) -> dict[str, str]:
    """helm's releases with the status of each one's last revision."""
    found = region.get("/api/v1/secrets", labelSelector="owner=helm")["items"]
    labels = sorted((s["metadata"]["labels"] for s in found), key=lambda label: int(label["version"]))
    return {label["name"]: label["status"] for label in labels}


def test_the_run_after_the_last_kill_proves_the_release(survived: str) -> None:
    assert "is proven" in survived


def test_there_is_one_cluster_one_network_one_nat_gateway(survived: str, region: Region) -> None:
    ec2 = region.client("ec2")
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    gateways = ec2.describe_nat_gateways(Filters=mine)["NatGateways"]
    assert region.client("eks").list_clusters()["clusters"] == [CLUSTER]
    assert len(ec2.describe_vpcs(Filters=mine)["Vpcs"]) == 1
    assert [gateway["State"] for gateway in gateways] == ["available"]


def test_no_object_of_the_model_was_sent_twice(survived: str, region: Region) -> None:
    versions = region.client("s3").list_object_versions(Bucket=BUCKET, Prefix="slipway/tiny-llama/")
    counted = Counter(version["Key"] for version in versions["Versions"])
    assert len(counted) > 10
    assert set(counted.values()) == {1}


def test_one_release_is_in_the_ledger(survived: str, region: Region) -> None:
    folder = f"releases/{ENVIRONMENT}/tiny-llama/"  # a folder below it holds the release's pages
    listed = region.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=folder, Delimiter="/")
    serving = region.serving()
    assert (serving.previous, serving.rolling) == (None, None)
    assert sorted(item["Key"].rpartition("/")[2] for item in listed["Contents"]) == sorted(
        [f"{serving.serving}.json", "serving.json"]
    )


def test_the_deployment_is_at_its_first_revision(survived: str, region: Region) -> None:
    sets = region.get("/apis/apps/v1/namespaces/llm/replicasets")["items"]
    mine = [one for one in sets if one["metadata"]["name"].startswith("vllm-tiny-llama")]
    assert [one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in mine] == ["1"]


def test_every_helm_release_is_deployed(survived: str, region: Region) -> None:
    assert set(releases(region).values()) == {"deployed"}


def test_no_lock_is_left(survived: str, region: Region) -> None:
    objects = region.client("s3").list_objects_v2(Bucket=STATE)["Contents"]
    assert [o["Key"] for o in objects if not o["Key"].endswith(".tfstate")] == []


def test_it_answers(survived: str, region: Region) -> None:
    assert region.complete()

"""One deploy, stopped in every stage, the same command after each: it ends well, and nothing is there twice.

kill -9 of the run, of the run with its terraform or helm, Ctrl-C, and EC2 without a GPU. A fault holds the stage that the
run is stopped in; where an earlier test failed, its stage is made up for on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import Command
from tests.support.project import BUCKET, CLUSTER, ENVIRONMENT, STATE, Project, edit

DEPLOY = ("deploy", "tiny-llama", "-e", ENVIRONMENT)
TEARDOWN = ("teardown", "-e", ENVIRONMENT, "--models", "delete", "--volumes", "delete")
# Seconds a stage is held: longer than it takes to see it and to stop the run.
HOLD = 300.0
PROGRESS = r"staging: .* of 22\.9 MiB \((?!100)"

Start = Callable[..., Command]


@pytest.fixture
def unproven(project: Project) -> None:
    """No deploy has come to its end: one that did, because a test did not stop it, is taken away again."""
    if project.is_made() and project.serving().serving:
        project.run(*TEARDOWN).succeeded()


@pytest.fixture
def staging_held(faults: Faults) -> None:
    """Staging runs beside terraform's cluster, and would be done before the test that stops it."""
    weights = f"{BUCKET}/slipway/*.safetensors"
    faults.set("aws-slow", target=f"s3 [PU]* {weights}", value=HOLD)  # PutObject, UploadPart


@pytest.mark.usefixtures("unproven")
def test_kill_9_while_terraform_makes_the_storage(project: Project, start: Start, faults: Faults) -> None:
    faults.set("aws-slow", target=f"s3 PutBucketVersioning {BUCKET}*", value=HOLD)
    run = start(*DEPLOY, "-v")
    run.wait_for(r"storage: aws_s3_bucket\.models\[0\]: Creation complete")
    run.kill()
    assert project.client("eks").list_clusters()["clusters"] == []


@pytest.mark.usefixtures("unproven", "staging_held")
def test_a_power_cut_while_terraform_makes_the_cluster(
    project: Project, start: Start, faults: Faults
) -> None:
    faults.set("aws-slow", target="eks CreateNodegroup", value=HOLD)
    run = start(*DEPLOY)
    run.wait_until(lambda: CLUSTER in project.client("eks").list_clusters()["clusters"], "cluster in EKS")
    run.cut_power()
    assert locks(project)  # what the next run has to decide about


@pytest.mark.usefixtures("unproven", "staging_held")
def test_kill_9_while_the_model_is_staged(project: Project, start: Start) -> None:
    run = start(*DEPLOY)
    run.wait_for(PROGRESS)
    run.kill()
    assert [key for key in keys(project, BUCKET) if key.endswith("manifest.json")] == []


@pytest.mark.usefixtures("unproven")
def test_no_gpu_to_be_had_and_ctrl_c_while_one_is_waited_for(
    project: Project, start: Start, faults: Faults
) -> None:
    """Both under one fault: the node group goes on asking, and has its node soon after EC2 gives one."""
    faults.set("capacity", target="g5.2xlarge")
    project.run(*DEPLOY).refused(1, "error: EC2 gives no GPU node now", "InsufficientInstanceCapacity")
    run = start(*DEPLOY)
    run.wait_for(r"gpu nodes: 0 of 1 GPU nodes ready")
    run.interrupt().was_interrupted()


@pytest.mark.usefixtures("unproven")
def test_a_power_cut_while_helm_installs(project: Project, start: Start, faults: Faults) -> None:
    """helm's last write, that the release is deployed, is held back: it stays pending, and the next run repairs it."""
    faults.set("api-slow", target="PUT secrets", value=HOLD)
    run = start(*DEPLOY)
    run.wait_until(lambda: project.is_reached() and "pending-install" in releases(project), "pending release")
    run.cut_power()
    assert "pending-install" in releases(project)


@pytest.mark.usefixtures("unproven")
def test_kill_9_while_the_claim_is_warmed(project: Project, start: Start, faults: Faults) -> None:
    faults.set("aws-slow", target=f"s3 GetObject {BUCKET}/slipway/*.safetensors", value=HOLD)
    run = start(*DEPLOY)
    # "job warm-…" where this run makes the Job, "copying" where a run killed before has made it.
    run.wait_for(r"warming: (job warm-|copying)")
    run.kill()
    claim = project.get("/api/v1/namespaces/llm/persistentvolumeclaims/model-cache-tiny-llama")
    assert "slipway.dev/warm" not in claim["metadata"].get("annotations", {})


@pytest.mark.usefixtures("unproven")
def test_kill_9_while_vllm_loads(project: Project, start: Start, faults: Faults) -> None:
    faults.set("engine-slow-load", value=HOLD)
    run = start(*DEPLOY)
    run.wait_for(r"rollout: pods of release \w+: loading")
    run.kill()
    serving = project.serving()
    assert (serving.serving, bool(serving.rolling)) == (None, True)


@pytest.mark.usefixtures("unproven")
def test_kill_9_while_the_release_is_validated(project: Project, start: Start) -> None:
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    edit(file, {"load": {"window": "30s"}})
    try:
        run = start(*DEPLOY)
        run.wait_for(r"validation: \d+ of \d+ requests")
        run.kill()
    finally:
        file.write_text(before)
    assert project.serving().serving is None


def keys(project: Project, bucket: str) -> list[str]:
    listed = project.client("s3").list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def locks(project: Project) -> list[str]:
    return [key for key in keys(project, STATE) if not key.endswith(".tfstate")]


def releases(project: Project) -> set[str]:
    """The statuses of helm's releases: of each one's last revision."""
    found = project.get("/api/v1/secrets", labelSelector="owner=helm")["items"]
    labels = sorted((s["metadata"]["labels"] for s in found), key=lambda label: int(label["version"]))
    return set({label["name"]: label["status"] for label in labels}.values())


# ------------------------------------------------------------------ after the last kill


@pytest.fixture(scope="module")
def survived(project: Project) -> str:
    """What the run after the last kill said."""
    return project.run(*DEPLOY).succeeded().output


def test_the_run_after_the_last_kill_proves_the_release(survived: str) -> None:
    assert "is proven" in survived


def test_there_is_one_cluster_one_network_one_nat_gateway(survived: str, project: Project) -> None:
    ec2 = project.client("ec2")
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    gateways = ec2.describe_nat_gateways(Filters=mine)["NatGateways"]
    assert project.client("eks").list_clusters()["clusters"] == [CLUSTER]
    assert len(ec2.describe_vpcs(Filters=mine)["Vpcs"]) == 1
    # EC2 shows a deleted one for an hour
    assert [gateway["State"] for gateway in gateways if gateway["State"] != "deleted"] == ["available"]


def test_no_object_of_the_model_was_sent_twice(survived: str, project: Project) -> None:
    versions = project.client("s3").list_object_versions(Bucket=BUCKET, Prefix="slipway/tiny-llama/")
    counted = Counter(version["Key"] for version in versions["Versions"])
    assert len(counted) > 10
    assert set(counted.values()) == {1}


def test_one_release_is_in_the_ledger(survived: str, project: Project) -> None:
    folder = f"releases/{ENVIRONMENT}/tiny-llama/"  # a folder below it holds the release's pages
    listed = project.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=folder, Delimiter="/")
    serving = project.serving()
    assert (serving.previous, serving.rolling) == (None, None)
    assert sorted(item["Key"].rpartition("/")[2] for item in listed["Contents"]) == sorted(
        [f"{serving.serving}.json", "evidence.json", "serving.json"]
    )


def test_the_deployment_is_at_its_first_revision(survived: str, project: Project) -> None:
    sets = project.get("/apis/apps/v1/namespaces/llm/replicasets")["items"]
    mine = [one for one in sets if one["metadata"]["name"].startswith("vllm-tiny-llama")]
    assert [one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in mine] == ["1"]


def test_every_helm_release_is_deployed(survived: str, project: Project) -> None:
    assert releases(project) == {"deployed"}


def test_nothing_of_a_load_whose_run_was_killed_is_left(survived: str, project: Project) -> None:
    assert project.asking_jobs() == []


def test_no_lock_is_left(survived: str, project: Project) -> None:
    assert locks(project) == []


def test_it_answers(survived: str, project: Project) -> None:
    assert project.complete()

"""The door for other people's tests: what runs for as long as the block lasts, and how a part that fails is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from slipway_sandbox.loopback import hold_network, plan_settings
from slipway_sandbox.parts import Parts
from slipway_sandbox.settings import SandboxError
from slipway_sandbox.supervisor import began
from slipway_sandbox.testing import FAULTS, GPU_TAINT, Sandbox, make_models, start


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("door")
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text("{}")
    with start(folder / "root", parts=("aws", "hub"), models={"me/mine": folder / "mine"}) as sandbox:
        yield sandbox


def test_processes_end_with_the_block(tmp_path: Path) -> None:
    with start(tmp_path, parts=("aws",)) as sandbox:
        pid = sandbox.pids["aws"]
        assert began(pid)
    assert not began(pid)


def test_a_client_speaks_to_its_own_sandbox_whatever_the_environment_says(
    running: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    running.client("s3").create_bucket(Bucket="mine")
    assert [bucket["Name"] for bucket in running.session().client("s3").list_buckets()["Buckets"]] == ["mine"]


def test_a_child_process_sees_this_cloud_and_no_other(
    running: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    variables = running.variables(MORE="1")
    assert "AWS_PROFILE" not in variables
    assert (variables["AWS_ENDPOINT_URL"], variables["MORE"]) == (running.aws_url, "1")


def test_models_are_published(running: Sandbox) -> None:
    assert httpx.get(f"{running.hub_url}/api/models/me/mine").json()["id"] == "me/mine"


def test_a_cluster_without_a_region_is_made_all_the_same(running: Sandbox) -> None:
    cluster = running.make_cluster("door")
    cluster.add_gpu_nodes("gpu", "g5.2xlarge", workload="inference-gpu")
    group = running.client("eks").describe_nodegroup(clusterName="door", nodegroupName="gpu")["nodegroup"]
    assert (group["taints"], group["subnets"]) == ([GPU_TAINT], [cluster.subnets[0]])
    assert cluster.describe()["status"] == "ACTIVE"


def test_a_part_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file where a folder has to be")
    ended = r"(?s)hub ended with exit code 1; .*logs/hub\.log ends with"
    with pytest.raises(SandboxError, match=ended), start(tmp_path, parts=("hub",)):
        raise AssertionError("it got ready")


def test_two_sandboxes_never_share_a_block() -> None:
    first, lock = hold_network("127.200")
    second, other = hold_network(first)
    lock.close()
    other.close()
    assert first != second


def test_parts_are_started_in_their_order(tmp_path: Path) -> None:
    assert Parts(plan_settings(tmp_path), {"prefect", "region", "aws"}).names == ["prefect", "aws", "region"]


def test_the_hubs_models_are_written_by_name_and_revision(tmp_path: Path) -> None:
    assert (make_models(tmp_path) / "tiny-llama" / "main" / "tokenizer.json").is_file()


def test_the_catalogue_of_faults_is_known_by_name() -> None:
    assert "capacity" in FAULTS

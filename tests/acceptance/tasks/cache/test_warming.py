"""Claims made warm in a cluster with nodes, volumes and S3: what is there, what is done, what is said."""

from __future__ import annotations

import json
import uuid

import pytest
from slipway_sandbox.testing import Faults, Sandbox

from tasks.cache import warming
from tasks.cache.context import HELD, WARM
from tasks.records.errors import WarmingFailed
from tasks.records.results import WarmCache
from tests.support.caches import COMMIT, MIB, Warmer
from tests.support.clock import until


def test_a_cold_claim_becomes_warm(warmer: Warmer) -> None:
    cache = warmer()
    assert cache.path == f"acme--small/{COMMIT}"
    assert cache.bytes_copied == 13 * MIB + 333 + 7
    assert not cache.reused
    assert cache.volume_id.startswith("vol-")
    assert cache.zone.startswith("us-east-1")
    assert warmer.claim()["metadata"]["annotations"][WARM] == COMMIT
    assert warmer.heard.steps[-1] == (cache.bytes_copied, cache.bytes_copied)


def test_a_warm_claim_is_left_alone(warmer: Warmer) -> None:
    first = warmer()
    warmer.cluster.delete("batch/v1", "Job", warmer.job_name, "llm")
    second = warmer()
    assert second.reused
    assert (second.volume_id, second.bytes_copied) == (first.volume_id, 0)
    assert "holds cccccccccccc already" in warmer.heard.lines[-1]


def test_a_claim_that_lost_its_mark_is_filled_again_in_a_moment(warmer: Warmer) -> None:
    warmer()
    body = {"metadata": {"annotations": {"slipway.dev/warm-manifest": None}}}
    warmer.cluster.patch("v1", "PersistentVolumeClaim", warmer.claim_name, body, "llm")
    again = warmer()
    assert again.bytes_copied == 0
    assert any("is run again" in line for line in warmer.heard.lines)


def test_a_run_killed_while_the_job_runs_is_taken_up(warmer: Warmer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(warming, "_watch", die)
        with pytest.raises(Killed):
            warmer()
    assert warmer.job() is not None
    warmer()
    assert warmer.claim()["metadata"]["annotations"][WARM] == COMMIT


def test_what_a_new_claim_costs_is_said(warmer: Warmer) -> None:
    warmer.more = {"cache": {"throughput": 500, "iops": 4000, "size": "10Gi"}}
    warmer()
    name = warmer.claim_name
    assert f"claim {name}: 10 GiB gp3, 4000 IOPS, 500 MiB/s: 20.80 USD a month" in warmer.heard.lines
    assert "g5.2xlarge reads at most 417 MiB/s of it" in warmer.heard.lines
    assert warmer.claim()["spec"]["storageClassName"] == "gp3-retain-4000-500"


def test_a_claim_keeps_its_volume_and_is_told_what_would_change_it(warmer: Warmer) -> None:
    cache = warmer()
    assert not any("its volume keeps" in line for line in warmer.heard.lines)
    warmer.more = {"cache": {"throughput": 500, "iops": 4000}}
    assert warmer().volume_id == cache.volume_id
    [line] = [line for line in warmer.heard.lines if "its volume keeps" in line]
    command = f"aws ec2 modify-volume --volume-id {cache.volume_id} --iops 4000 --throughput 500"
    assert "keeps 3000 IOPS and 125 MiB/s" in line
    assert line.endswith(command)
    assert any("now 0.24 USD a month, then 20.24 USD a month" in line for line in warmer.heard.lines)


def test_a_volume_that_was_changed_in_ec2_is_not_told_of_again(warmer: Warmer) -> None:
    cache = warmer()
    warmer.aws.client("ec2").modify_volume(VolumeId=cache.volume_id, Iops=4000, Throughput=500)
    warmer.more = {"cache": {"throughput": 500, "iops": 4000}}
    warmer()
    assert not any("its volume keeps" in line for line in warmer.heard.lines)


def test_the_job_asks_for_no_gpu_and_tolerates_the_gpu_nodes_taint(warmer: Warmer) -> None:
    warmer()
    job = warmer.job()
    assert job is not None
    pod = job["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["requests"]
    assert pod["nodeSelector"] == {"workload": "inference-gpu"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["securityContext"]["runAsNonRoot"]


def test_denied_s3_names_the_association_to_look_at(warmer: Warmer, faults: Faults) -> None:
    faults.set("s3-denied", target="GetObject")
    with pytest.raises(WarmingFailed, match="may not be read") as caught:
        warmer()
    assert "--service-account model-cache" in str(caught.value.next_command)
    assert any("AccessDenied" in line for line in caught.value.evidence)


def test_after_a_failed_job_the_next_run_starts_another(warmer: Warmer, faults: Faults) -> None:
    faults.set("s3-denied", target="GetObject")
    with pytest.raises(WarmingFailed):
        warmer()
    faults.clear()
    assert warmer().bytes_copied


def test_a_full_volume_says_how_to_make_it_larger(warmer: Warmer) -> None:
    warmer.staged.publish(**{"second.safetensors": 1 << 60})
    with pytest.raises(WarmingFailed, match="is full") as caught:
        warmer()
    assert f"cache.size in models/{warmer.name}.yaml" in str(caught.value.next_command)


def test_a_volume_that_fills_up_while_it_is_written_ends_as_such(warmer: Warmer, faults: Faults) -> None:
    faults.set("disk-full", target=warmer.claim_name, value=1024.0)
    with pytest.raises(WarmingFailed, match="is full"):
        warmer()


def test_wrong_bytes_in_s3_end_as_such(warmer: Warmer) -> None:
    warmer.staged.put("second.safetensors", bytes(4 * MIB))
    with pytest.raises(WarmingFailed, match=r"second\.safetensors"):
        warmer()
    assert WARM not in warmer.claim()["metadata"].get("annotations", {})


def test_a_driver_without_identity_is_named_when_the_volume_does_not_come(
    warmer: Warmer, faults: Faults
) -> None:
    faults.set("csi-identity")
    warmer.deadlines = {"volume_bind": 3.0}
    with pytest.raises(WarmingFailed, match="EBS CSI driver may not make volumes") as caught:
        warmer()
    assert caught.value.evidence


def test_no_node_for_the_job_shows_the_schedulers_words(warmer: Warmer) -> None:
    warmer.gpu = {"label_value": "no-such-nodes"}
    warmer.deadlines = {"node_boot": 2.0}
    with pytest.raises(WarmingFailed, match="no node took") as caught:
        warmer()
    assert any("FailedScheduling" in line for line in caught.value.evidence)


def test_an_image_nobody_has_is_named(warmer: Warmer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "UNPULLABLE_SECONDS", 1.0)
    warmer.image = "example.com/no/such:image"
    with pytest.raises(WarmingFailed, match=r"example\.com/no/such:image cannot be pulled"):
        warmer()


def commits_on(sandbox: Sandbox, cache: WarmCache) -> set[str]:
    """What the volume holds, read on the sandbox's own disk."""
    return {folder.name for folder in sandbox.volume(cache.volume_id).glob("acme--small/*")}


def serve(warmer: Warmer, commit: str) -> str:
    """A pod that mounts the claim and is told the commit's folder, as vLLM is."""
    name = f"serves-{uuid.uuid4().hex[:8]}"
    container = {
        "name": "main",
        "image": "public.ecr.aws/docker/library/busybox:1.37",
        "command": ["sh", "-c", "sleep 300"],
        "args": [f"/models/acme--small/{commit}"],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    spec = {
        "containers": [container],
        "nodeSelector": {"workload": "inference-gpu"},
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": warmer.claim_name}}],
    }
    metadata = {"name": name, "namespace": "llm"}
    warmer.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    until(lambda: (warmer.cluster.get("v1", "Pod", name, "llm") or {})["status"].get("phase") == "Running")
    return name


def test_a_revision_that_a_pod_serves_is_never_evicted(warmer: Warmer, sandbox: Sandbox) -> None:
    warmer.more = {"cache": {"keep": 0}}
    warmer()
    pod = serve(warmer, COMMIT)
    for commit in ("d" * 40, "e" * 40):
        warmer.restage(commit)
        cache = warmer()
    assert commits_on(sandbox, cache) == {COMMIT, "e" * 40}
    warmer.cluster.delete("v1", "Pod", pod, "llm")
    until(lambda: warmer.cluster.get("v1", "Pod", pod, "llm") is None)
    warmer.restage("f" * 40)
    assert commits_on(sandbox, warmer()) == {"f" * 40}


def test_what_a_rollback_would_put_back_is_kept_and_the_claim_grows_for_it(
    warmer: Warmer, sandbox: Sandbox
) -> None:
    warmer.more = {"cache": {"keep": 0}}
    warmer()
    before = warmer.claim()["spec"]["resources"]["requests"]["storage"]
    held = {"metadata": {"annotations": {HELD: json.dumps({COMMIT: 10 << 30, "b" * 40: 90 << 30})}}}
    warmer.cluster.patch("v1", "PersistentVolumeClaim", warmer.claim_name, held, "llm")
    warmer.needed = (COMMIT,)
    warmer.restage("d" * 40)
    assert commits_on(sandbox, warmer()) == {COMMIT, "d" * 40}
    assert (before, warmer.claim()["spec"]["resources"]["requests"]["storage"]) == ("3Gi", "16Gi")
    assert set(json.loads(warmer.claim()["metadata"]["annotations"][HELD])) == {COMMIT, "d" * 40}

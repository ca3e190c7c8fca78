"""Runs of `warm` over a cluster of canned objects: the steps it takes, how long it waits for what, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from exits import Exit
from tasks.cache import adoption, claims
from tasks.cache.context import HELD, MANIFEST, WARM, WARM_MANIFEST, Context, job_name
from tasks.cache.decide import Phase
from tasks.cache.warming import find, limits, warm
from tasks.cloud.kubernetes import Object
from tasks.cloud.waiting import Time
from tasks.records.errors import ClusterError, WarmingFailed
from tests.support.builders import COMMIT, a_model, an_environment
from tests.support.canned import MANIFEST as SHA256
from tests.support.canned import CannedCluster, a_context, a_staged
from tests.support.clock import Clock
from tests.support.heard import Heard

CLAIM, JOB = "model-cache-llama", job_name(a_model(), COMMIT)
CLASS = "gp3-retain-3000-125"


@pytest.fixture(autouse=True)
def nothing_in_ec2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "kept_snapshots", lambda *_: [])
    monkeypatch.setattr(claims, "kept_volumes", lambda *_: [])
    monkeypatch.setattr(claims, "volume_figures", lambda *_: None)


def a_claim(phase: str = "Bound", size: str = "9Gi", volume: str | None = "pv", **metadata: Any) -> Object:
    spec = {"storageClassName": CLASS, "resources": {"requests": {"storage": size}}}
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, **metadata},
        "spec": spec | ({"volumeName": volume} if volume else {}),
        "status": {"phase": phase},
    }


def a_volume(size: str = "9Gi") -> Object:
    zone = {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["us-east-1a"]}
    spec = {
        "capacity": {"storage": size},
        "csi": {"volumeHandle": "vol-1"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}},
    }
    return {"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec}


def a_job(*conditions: str) -> Object:
    rule = {"action": "FailJob", "onExitCodes": {"values": [int(Exit.NO_SPACE)]}}
    return {
        "kind": "Job",
        "metadata": {"name": JOB, "uid": "1", "annotations": {MANIFEST: SHA256}},
        "spec": {"podFailurePolicy": {"rules": [rule]}},
        "status": {"conditions": [{"type": each, "status": "True"} for each in conditions]},
    }


def a_pod(state: dict[str, Any] | None = None, node: str | None = "n1") -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": "warm-1", "labels": {"job-name": JOB}},
        "spec": {"nodeName": node} if node else {},
        "status": {"containerStatuses": [{"state": state or {}}]},
    }


def a_node(zone: str = "us-east-1a") -> Object:
    labels = {"topology.kubernetes.io/zone": zone, "workload": "inference-gpu"}
    conditions = [{"type": "Ready", "status": "True"}]
    return {
        "kind": "Node",
        "metadata": {"name": "n1", "labels": labels},
        "status": {"conditions": conditions},
    }


def ended(code: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}


def line(event: str, **fields: Any) -> str:
    return "SLIPWAY " + json.dumps({"event": event, **fields}) + "\n"


DONE = line("done", commit=COMMIT, bytes_copied=5, held={COMMIT: 5})
RUNNING: dict[str, Any] = {"running": {}}
GOING: dict[str, Any] = {"deletionTimestamp": "2026-11-01T12:00:00Z"}
CHOSEN: dict[str, Any] = {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}


def context_of(cluster: CannedCluster, clock: Clock, **over: Any) -> Context:
    return a_context(cluster, time=Time(clock, clock.sleep), **over)


class Working(CannedCluster):
    """A cluster whose job succeeds as soon as it is applied."""

    def apply(self, document: Object, **more: Any) -> Object:
        made = super().apply(document, **more)
        if made["kind"] == "Job":
            made["status"] = a_job("Complete")["status"]
            self.patch("v1", "PersistentVolumeClaim", CLAIM, {"spec": {"volumeName": "pv"}})
            self.patch("v1", "PersistentVolumeClaim", CLAIM, {"status": {"phase": "Bound"}})
            self.documents += [a_volume(), a_pod(ended(0))]
        return made


def test_a_cold_claim_is_created_filled_and_marked() -> None:
    cluster, heard = Working(log=DONE), Heard()
    cache = warm(context_of(cluster, Clock(), reporter=heard))
    assert (cache.volume_id, cache.zone, cache.bytes_copied, cache.reused) == (
        "vol-1", "us-east-1a", 5, False,
    )  # fmt: skip
    claim = cluster.get("v1", "PersistentVolumeClaim", CLAIM)
    assert claim is not None
    assert claim["metadata"]["annotations"] == {
        WARM: COMMIT,
        WARM_MANIFEST: SHA256,
        HELD: json.dumps({COMMIT: 5}),
    }
    assert "5 B was copied" in heard.lines[-1]


def test_a_warm_claim_is_left_alone() -> None:
    marks: dict[str, Any] = {"annotations": {WARM: COMMIT, WARM_MANIFEST: SHA256}}
    cluster = CannedCluster(a_claim(**marks), a_volume())
    assert warm(context_of(cluster, Clock())).reused
    assert len(cluster.documents) == 2


def test_a_warm_claim_is_found() -> None:
    marks: dict[str, Any] = {"annotations": {WARM: COMMIT, WARM_MANIFEST: SHA256}}
    cluster = CannedCluster(a_claim(**marks), a_volume())
    assert find(context_of(cluster, Clock())).volume_id == "vol-1"
    assert len(cluster.documents) == 2


@pytest.mark.parametrize(
    ("documents", "evidence"),
    [
        ([], ()),
        ([a_claim(), a_volume()], ()),
        (
            [a_claim(annotations={WARM: "d" * 40, WARM_MANIFEST: SHA256, HELD: json.dumps({"d" * 40: 5})}), a_volume()],
            (f"on it: {'d' * 40}, 5 B",),
        ),
    ],
)  # fmt: skip
def test_a_claim_that_is_not_warm_is_told_and_left_as_it_is(
    documents: list[Object], evidence: tuple[str, ...]
) -> None:
    cluster = CannedCluster(*documents)
    with pytest.raises(WarmingFailed, match="was not warmed with") as caught:
        find(context_of(cluster, Clock()))
    assert caught.value.evidence == evidence
    assert str(caught.value.next_command).endswith("--from-stage staging")
    assert cluster.documents == documents


def test_a_job_that_does_not_say_what_it_did_marks_nothing() -> None:
    cluster = Working(log="Traceback\n")
    with pytest.raises(WarmingFailed, match="did not say what it did") as caught:
        warm(context_of(cluster, Clock()))
    assert caught.value.evidence == ("Traceback",)


def test_the_volume_grows_for_a_commit_that_something_serves() -> None:
    other = "d" * 40
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "vllm-llama"},
        "spec": {"args": [f"--model=/models/acme--small/{other}"]},
    }
    held: dict[str, Any] = {"annotations": {HELD: json.dumps({other: 100 << 30})}}
    cluster = CannedCluster(a_claim(**held), a_volume(), deployment)
    with pytest.raises(WarmingFailed, match="did not grow"):
        warm(context_of(cluster, Clock()))
    claim = cluster.get("v1", "PersistentVolumeClaim", CLAIM)
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "134Gi"


@pytest.mark.parametrize(
    ("phase", "documents", "cause"),
    [
        ("deleting", [a_claim(**GOING)], "is being deleted and was not gone"),
        ("binding", [a_claim("Pending", size="1Gi")], "was not bound to its volume"),
        ("growing", [a_claim(), a_volume("1Gi")], "did not grow"),
        ("creating", [a_claim(), a_volume(), a_job()], "made no pod"),
        ("scheduling", [a_claim(), a_volume(), a_job(), a_pod(node=None), a_node()], "no node took"),
        ("volume", [a_claim("Pending", volume=None, **CHOSEN), a_job(), a_pod(node=None)], "was not made"),
        ("starting", [a_claim(), a_volume(), a_job(), a_pod(), a_node()], "did not start"),
        ("running", [a_claim(), a_volume(), a_job(), a_pod(RUNNING), a_node()], "the copy did not end"),
        ("lost", [a_claim(), a_volume(), a_job(), a_pod(RUNNING)], "the node of the warm job was lost"),
    ],
)
def test_each_phase_is_waited_for_as_long_as_it_may_take(
    phase: Phase, documents: list[Object], cause: str
) -> None:
    clock = Clock(0.0)
    with pytest.raises(WarmingFailed, match=cause):
        warm(context_of(CannedCluster(*documents, events=["an event"]), clock))
    allowed = limits(a_staged(), 125, an_environment())[phase]
    assert allowed < clock.now <= allowed + 2


def test_a_large_image_has_as_much_longer_as_its_pull_needs() -> None:
    clock = Clock(0.0)
    documents = [a_claim(), a_volume(), a_job(), a_pod(), a_node()]
    context = replace(context_of(CannedCluster(*documents, events=["an event"]), clock), more_for_pull=300.0)
    with pytest.raises(WarmingFailed, match="did not start"):
        warm(context)
    allowed = limits(a_staged(), 125, an_environment())["starting"] + 300
    assert allowed < clock.now <= allowed + 2


def test_a_pod_that_ended_for_good_is_not_waited_for() -> None:
    error = line("error", code=int(Exit.NO_SPACE), cause="no space left on the volume")
    documents = [a_claim(), a_volume(), a_pod(RUNNING), a_node()]
    cluster = CannedCluster(*documents, a_job(), log=error)
    clock = Clock(0.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        cluster.documents = [*documents[:2], a_pod(ended(Exit.NO_SPACE)), a_node(), a_job()]

    with pytest.raises(WarmingFailed, match="is full: no space left"):
        warm(a_context(cluster, time=Time(clock, sleep)))
    assert clock.now <= 2


def test_a_claim_no_node_can_attach_is_named_with_both_zones() -> None:
    documents = [a_claim(), a_volume(), a_job(), a_pod(node=None), a_node("us-east-1b")]
    with pytest.raises(WarmingFailed, match="is in us-east-1a, and the GPU nodes are in us-east-1b"):
        warm(context_of(CannedCluster(*documents), Clock()))


def test_an_image_that_cannot_be_pulled_is_named_once_the_registry_had_its_time() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    clock = Clock(0.0)
    documents = [a_claim(), a_volume(), a_job(), a_pod(waiting), a_node()]
    with pytest.raises(WarmingFailed, match=r"cannot be pulled \(ImagePullBackOff\)"):
        warm(context_of(CannedCluster(*documents), clock))
    assert 30 < clock.now < 33


class Deaf(CannedCluster):
    """A cluster whose kubelet does not answer."""

    def logs(self, *_: Any, **__: Any) -> str:
        raise ClusterError("kubelet does not answer")


def test_a_log_that_cannot_be_read_is_said_once_and_the_deadline_goes_on() -> None:
    heard = Heard()
    cluster = Deaf(a_claim(), a_volume(), a_job(), a_pod(RUNNING), a_node())
    with pytest.raises(WarmingFailed, match="the copy did not end"):
        warm(context_of(cluster, Clock(), reporter=heard))
    assert [each for each in heard.lines if "cannot be read now: kubelet does not answer" in each] == [
        "the job's log cannot be read now: kubelet does not answer"
    ]


def test_progress_and_each_note_of_the_job_are_passed_on() -> None:
    heard = Heard()
    log = line("note", text="removing") + line("progress", done=1, total=4)
    cluster = CannedCluster(a_claim(), a_volume(), a_job(), a_pod(RUNNING), a_node(), log=log)
    with pytest.raises(WarmingFailed):
        warm(context_of(cluster, Clock(), reporter=heard))
    assert heard.lines.count("removing") == 1
    assert heard.steps[0] == (1, 4)

"""The wait for a release's pods, over a cluster that changes as time passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.cloud.waiting import Time
from tasks.records.errors import RolloutFailed
from tasks.records.names import RELEASE_ANNOTATION
from tasks.releases.ledger import Ledger
from tasks.rollout.context import RolloutContext
from tasks.rollout.gate import wait_for_pods
from tests.support.builders import an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard
from tests.support.ledgers import MemoryS3, a_ledger
from tests.support.pods import READY, RUNNING, SCHEDULED, UNREADY, a_pod, condition

POD_START = 30.0
NO_GPU = "Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
WRONG_FLAG = "vllm: error: unrecognized arguments: --magic"


def a_release_pod(*conditions: dict[str, str], state: Any = None, name: str = "p") -> Any:
    pod = a_pod(*conditions, state=state, namespace="llm", annotations={RELEASE_ANNOTATION: "r1"})
    pod["metadata"]["name"] = name
    return pod


WAITS = a_release_pod(condition("PodScheduled", "2025-01-01T00:00:02Z", "False"))
LOADS = a_release_pod(SCHEDULED, UNREADY, state=RUNNING)
IS_READY = a_release_pod(SCHEDULED, READY, state=RUNNING)


class Cluster:
    """A namespace by time: `pods(seconds)`, `events`, a log; complete once all `wanted` pods are ready."""

    def __init__(self, clock: Clock, pods: Callable[[float], list[Any]], wanted: int = 1) -> None:
        self.clock, self.pods, self.wanted = clock, pods, wanted
        self.began = clock.now
        self.event_lines: Callable[[float], list[str]] = lambda at: []
        self.log = ""
        self.conditions: list[dict[str, str]] = []

    @property
    def at(self) -> float:
        return self.clock.now - self.began

    def list(self, api: str, kind: str, namespace: str, *, label_selector: str) -> list[Any]:
        assert (kind, namespace, label_selector) == ("Pod", "llm", "app=vllm")
        return self.pods(self.at)

    def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> Any:
        if kind == "Node":
            return {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        assert (kind, name) == ("Deployment", "vllm-llama")
        ready = sum(pod is IS_READY for pod in self.pods(self.at))
        status = {"observedGeneration": 1, "updatedReplicas": ready, "replicas": ready}
        return {
            "metadata": {"name": name, "namespace": "llm", "generation": 1},
            "spec": {"replicas": self.wanted, "selector": {"matchLabels": {"app": "vllm"}}},
            "status": status | {"availableReplicas": ready, "conditions": self.conditions},
        }

    def events(self, namespace: str, name: str) -> Any:
        return self.event_lines(self.at)

    def logs(self, *_: Any, **__: Any) -> str:
        return self.log


def wait(
    cluster: Cluster,
    heard: Heard,
    seconds: float = 120.0,
    first: int = 0,
    more_for_pull: float = 0.0,
    ledger: Ledger | None = None,
) -> list[Any]:
    api: Any = cluster
    environment = an_environment(deadlines={"pod_start": POD_START})
    ledger = ledger or a_ledger()
    time = Time(cluster.clock, cluster.clock.sleep)
    context = RolloutContext(Path(), api, environment, ledger, heard, time=time, more_for_pull=more_for_pull)
    return wait_for_pods(context, "vllm-llama", "r1", seconds, first=first)


def test_the_gate_opens_when_the_deployment_is_complete_with_the_releases_pods(
    clock: Clock, heard: Heard
) -> None:
    cluster = Cluster(clock, lambda at: [WAITS] if at < 1 else [LOADS] if at < 3 else [IS_READY])
    assert wait(cluster, heard) == [IS_READY]
    assert cluster.at == 3.0
    assert heard.lines == ["pods of release r1: unscheduled", "pods of release r1: loading"]


def test_a_deployment_that_is_complete_with_other_pods_does_not_pass(clock: Clock, heard: Heard) -> None:
    other = a_release_pod(SCHEDULED, READY, state=RUNNING)
    other["metadata"]["annotations"] = {RELEASE_ANNOTATION: "r0"}
    cluster = Cluster(clock, lambda at: [other], wanted=0)
    with pytest.raises(RolloutFailed, match="its pods are still creating"):
        wait(cluster, heard, seconds=5.0)


def test_pods_of_a_large_image_have_as_much_longer_as_its_pull_needs(clock: Clock, heard: Heard) -> None:
    other = a_release_pod(SCHEDULED, READY, state=RUNNING)
    other["metadata"]["annotations"] = {RELEASE_ANNOTATION: "r0"}
    cluster = Cluster(clock, lambda at: [other], wanted=0)
    with pytest.raises(RolloutFailed):
        wait(cluster, heard, seconds=5.0, more_for_pull=60.0)
    assert 65.0 <= cluster.at <= 67.0


def test_a_canary_passes_with_its_first_pods(clock: Clock, heard: Heard) -> None:
    cluster = Cluster(clock, lambda at: [IS_READY, LOADS], wanted=2)
    assert wait(cluster, heard, first=1) == [IS_READY]


def test_a_cause_that_waiting_cannot_cure_ends_the_wait_at_once(clock: Clock, heard: Heard) -> None:
    cluster = Cluster(clock, lambda at: [LOADS])
    cluster.log = WRONG_FLAG
    with pytest.raises(RolloutFailed, match="vLLM does not know a flag it was given") as caught:
        wait(cluster, heard)
    assert WRONG_FLAG in caught.value.evidence
    assert cluster.at == 0.0


def test_the_engines_log_is_kept_beside_the_release_because_its_pod_will_go(
    clock: Clock, heard: Heard
) -> None:
    s3 = MemoryS3()
    cluster = Cluster(clock, lambda at: [LOADS])
    cluster.log = "INFO one\nGET https://hub/x?Signature=abc\n" + WRONG_FLAG
    with pytest.raises(RolloutFailed) as caught:
        wait(cluster, heard, ledger=Ledger(s3, "models", "staging", "llama"))
    key = "releases/staging/llama/r1/engine.log"
    assert str(caught.value.next_command).endswith(f"the engine's log: aws s3 cp s3://models/{key} -")
    kept = s3.objects[key].decode()
    assert kept.startswith("INFO one\n")
    assert kept.endswith(f"{WRONG_FLAG}\n")
    assert "Signature" not in kept


def test_a_log_that_cannot_be_kept_does_not_hide_the_cause(clock: Clock, heard: Heard) -> None:
    class Refusing(MemoryS3):
        def put_object(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")

    cluster = Cluster(clock, lambda at: [LOADS])
    cluster.log = WRONG_FLAG
    with pytest.raises(RolloutFailed, match="vLLM does not know a flag it was given") as caught:
        wait(cluster, heard, ledger=Ledger(Refusing(), "models", "staging", "llama"))
    assert caught.value.evidence[-1].startswith("the engine's log is not kept: ")


def test_a_cause_that_may_pass_is_waited_out_for_the_start_of_a_pod(clock: Clock, heard: Heard) -> None:
    cluster = Cluster(clock, lambda at: [WAITS])
    cluster.event_lines = lambda at: [NO_GPU]
    with pytest.raises(RolloutFailed, match="no node has a free GPU for it"):
        wait(cluster, heard)
    assert cluster.at == pytest.approx(POD_START, abs=0.5)


def test_pods_that_cannot_be_made_are_told_while_and_after_they_are_waited_for(
    clock: Clock, heard: Heard
) -> None:
    cluster = Cluster(clock, lambda at: [])
    said = 'pods "vllm-llama-1-" is forbidden: exceeded quota: gpus'
    cluster.conditions = [{"type": "ReplicaFailure", "status": "True", "message": said}]
    with pytest.raises(RolloutFailed, match="the namespace's quota is used up") as caught:
        wait(cluster, heard)
    assert said in caught.value.evidence
    assert cluster.at == pytest.approx(POD_START, abs=0.5)
    assert any(said in line for line in heard.lines)


def test_a_cause_that_passed_does_not_count_against_the_next(clock: Clock, heard: Heard) -> None:
    taint = "Warning FailedScheduling: 0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."
    cluster = Cluster(clock, lambda at: [WAITS])
    cluster.event_lines = lambda at: [NO_GPU] if at < 20 else [taint]
    with pytest.raises(RolloutFailed, match="no node's taints are tolerated"):
        wait(cluster, heard)
    assert cluster.at == pytest.approx(20 + POD_START, abs=0.5)


def test_a_load_that_outlasts_its_budget_is_told_as_that(clock: Clock, heard: Heard) -> None:
    cluster = Cluster(clock, lambda at: [LOADS])
    with pytest.raises(RolloutFailed, match="still loading at the end of its start-up budget") as caught:
        wait(cluster, heard, seconds=50.0)
    assert "cold_read_mib_s" in str(caught.value.next_command)
    assert cluster.at == 50.0


def test_at_the_deadline_the_cause_that_is_seen_is_told(clock: Clock, heard: Heard) -> None:
    cluster = Cluster(clock, lambda at: [WAITS])
    cluster.event_lines = lambda at: [NO_GPU]
    with pytest.raises(RolloutFailed, match="no node has a free GPU for it"):
        wait(cluster, heard, seconds=5.0)
    assert cluster.at == 5.0

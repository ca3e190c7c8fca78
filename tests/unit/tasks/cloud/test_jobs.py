"""A Job from its start to its end over a cluster of canned objects: what is heard of it, and that it is removed."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud import jobs
from tasks.cloud.inside import Program
from tasks.cloud.kubernetes import Lines, Object, Objects
from tasks.cloud.waiting import Time
from tasks.records.errors import Interrupted, ValidationFailed
from tests.support.builders import an_environment
from tests.support.canned import CannedCluster
from tests.support.clock import Clock

NAME = "load-llama"


class PodCluster(CannedCluster):
    """A cluster that makes a pod for the Job, and takes it through `phases`, one a look; `logs` one beside each."""

    def __init__(self, *looks: tuple[str, str]) -> None:
        super().__init__()
        self.looks = list(looks)

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Objects:
        if kind != "Pod" or "job-name" not in label_selector:
            return []
        phase, self.log = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if not phase:
            return []
        owner = {"kind": "Job", "name": NAME, "uid": f"Job/{NAME}"}
        return [
            {
                "metadata": {"name": f"{NAME}-x", "ownerReferences": [owner]},
                "spec": {"nodeName": "node-1"},
                "status": {"phase": phase},
            }
        ]

    def left(self) -> Lines:
        return [one["kind"] for one in self.documents if one["metadata"]["name"] == NAME]


def run(cluster: PodCluster, clock: Clock, hear: Any = print) -> list[str]:
    program = Program(NAME, "tasks.validation.load", "{}", {})
    with jobs.running(
        cluster,
        an_environment(deadlines={"pod_start": "60s"}),
        "llama",
        program,
        seconds=30.0,
        failed=ValidationFailed,
        say=lambda line: None,
        time=Time(clock, clock.sleep),
    ) as job:
        assert {"Job", "ConfigMap"} <= set(cluster.left())
        [owner] = owned(cluster)["metadata"]["ownerReferences"]
        assert owner["uid"] == f"Job/{NAME}"
        return job.wait(hear)


def owned(cluster: PodCluster) -> Object:
    found = cluster.get("v1", "ConfigMap", NAME)
    assert found is not None
    return found


def test_new_lines_are_heard_once_and_the_log_is_returned_at_the_end(clock: Clock) -> None:
    cluster = PodCluster(
        ("", ""),
        ("Pending", ""),
        ("Running", "one"),
        ("Running", "one\ntwo\nthree"),
        ("Running", "one\ntwo\nthree"),
        ("Succeeded", "one\ntwo\nthree\nend"),
    )
    heard: list[str] = []
    assert run(cluster, clock, heard.append) == ["one", "two", "three", "end"]
    assert heard == ["one", "two", "three", "end"]
    assert cluster.left() == []


@pytest.mark.parametrize(
    ("phase", "cause", "seconds"),
    [
        ("", "made no pod within", 60.0),
        ("Pending", "did not start within", 60.0),
        ("Running", "did not end within", 30.0),
        ("Failed", "failed", 0.0),
    ],
)
def test_one_that_comes_to_nothing_is_explained_in_its_time_and_removed(
    clock: Clock, phase: str, cause: str, seconds: float
) -> None:
    cluster, began = PodCluster((phase, "last words")), clock.now
    cluster.told = ["Warning FailedScheduling: 0/2 nodes are available"]
    with pytest.raises(ValidationFailed, match=cause) as caught:
        run(cluster, clock)
    assert clock.now - began == pytest.approx(seconds, abs=1.0)
    assert phase == "Failed" or caught.value.evidence[-1] == cluster.told[0]
    assert cluster.left() == []


def test_a_cancelled_run_removes_it(clock: Clock) -> None:
    cluster = PodCluster(("Running", "one"))

    def stop(line: str) -> None:
        raise Interrupted("interrupted")

    with pytest.raises(Interrupted):
        run(cluster, clock, stop)
    assert cluster.left() == []

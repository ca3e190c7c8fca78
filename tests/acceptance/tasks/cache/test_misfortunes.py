"""What befalls a warming on the way: its process killed, its node lost, its volume out of reach; and how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.cache import warming
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import WarmingFailed
from tests.support.caches import MIB, Staged, Warmer, forget
from tests.support.clock import until
from tests.support.heard import Heard

TOTAL = 13 * MIB + 333 + 7


def process_of(staged: Staged) -> int | None:
    """The warmer's process on this machine: only it has the bucket in its arguments."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"--bucket={staged.bucket}".encode() in words and b"python" in words[0]:
            return int(entry.name)
    return None


def test_a_warm_process_killed_by_kill_9_is_followed_by_one_that_ends_well(
    warmer: Warmer, faults: Faults
) -> None:
    faults.set("s3-503", target="GetObject")  # until it is killed: it cannot end before
    killed: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 30
        while not killed and time.monotonic() < end:
            if (process := process_of(warmer.staged)) is not None:
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                faults.clear()
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    cache = warmer()
    killer.join()
    assert len(killed) == 1
    assert 0 < cache.bytes_copied <= TOTAL
    pods = warmer.cluster.list("v1", "Pod", "llm", label_selector=f"model={warmer.name}")
    codes = [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in pods]
    assert sorted(codes) == [0, 137]


class Loses(Heard):
    """A reporter that takes the node away once the copy runs."""

    def __init__(self, faults: Faults, node: str) -> None:
        super().__init__()
        self.faults, self.node = faults, node

    def say(self, line: str) -> None:
        super().say(line)
        if line.startswith("copying"):
            self.faults.set("node-lost", target=self.node)


def test_a_node_lost_in_the_middle_ends_as_such_and_the_next_run_goes_on(
    warmer: Warmer, faults: Faults
) -> None:
    [node] = warmer.cluster.list("v1", "Node", label_selector="workload=inference-gpu")
    faults.set("s3-503", target="GetObject")
    warmer.heard = Loses(faults, node["metadata"]["name"])
    warmer.deadlines = {"node_boot": 3.0}
    with pytest.raises(WarmingFailed, match="the node of the warm job was lost") as caught:
        warmer()
    assert "kubectl get nodes" in str(caught.value.next_command)
    faults.clear()
    until(lambda: _is_ready(warmer.cluster, node["metadata"]["name"]), 60.0)
    warmer.heard, warmer.deadlines = Heard(), {}
    assert warmer().zone == "us-east-1a"


def _is_ready(cluster: Cluster, name: str) -> bool:
    found = cluster.get("v1", "Node", name) or {"status": {}}
    conditions = found["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_a_claim_in_another_zone_than_every_gpu_node_is_named_with_both_zones(
    warmer: Warmer, sandbox_cluster: EksCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "UNPLACEABLE_SECONDS", 1.0)
    sandbox_cluster.add_gpu_nodes("elsewhere", "g5.2xlarge", workload="elsewhere", zone=1)
    until(lambda: bool(warmer.cluster.list("v1", "Node", label_selector="workload=elsewhere")), 60.0)
    warmer.gpu = {"label_value": "elsewhere"}
    cache = warmer()
    assert cache.zone == "us-east-1b"
    warmer.gpu = {}
    warmer.restage("d" * 40)
    with pytest.raises(
        WarmingFailed, match="is in us-east-1b, and the GPU nodes are in us-east-1a"
    ) as caught:
        warmer()
    assert cache.volume_id in caught.value.evidence[0]
    assert "cluster.gpu.zone: us-east-1b" in str(caught.value.next_command)


def test_a_volume_an_earlier_cluster_left_is_taken_up_and_nothing_is_copied_again(warmer: Warmer) -> None:
    first = warmer()
    forget(warmer, first.volume_id)
    again = warmer()
    assert (again.volume_id, again.bytes_copied) == (first.volume_id, 0)
    assert any(f"takes up {first.volume_id}" in line for line in warmer.heard.lines)


def test_a_kept_volume_that_is_too_small_grows(warmer: Warmer) -> None:
    first = warmer()
    forget(warmer, first.volume_id)
    warmer.more = {"cache": {"size": "9Gi"}}
    assert warmer().volume_id == first.volume_id
    assert warmer.claim()["spec"]["resources"]["requests"]["storage"] == "9Gi"


def test_a_volume_of_a_claim_that_was_deleted_in_this_cluster_is_not_taken_up(warmer: Warmer) -> None:
    first = warmer()
    claim = warmer.claim_name
    warmer.cluster.delete("batch/v1", "Job", warmer.job_name, "llm")
    warmer.cluster.delete("v1", "PersistentVolumeClaim", claim, "llm")
    until(lambda: warmer.cluster.get("v1", "PersistentVolumeClaim", claim, "llm") is None)
    assert warmer().volume_id != first.volume_id

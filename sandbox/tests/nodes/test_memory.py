"""A container that holds more memory than its limit is killed for it; one that does not is left alone."""

from __future__ import annotations

import os

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.kubelet.memory import held_bytes, limit_of, processes_of
from tests.nodes.conftest import PYTHON, Region
from tests.nodes.test_lifecycle import state, waits_for

pytestmark = pytest.mark.asyncio(loop_scope="session")
MIB = 2**20


def holding(mib: int, limit: str, **more: object) -> Object:
    """A container that takes `mib` MiB for good, in a child of its first process."""
    child = f"import time; held = b'x' * ({mib} << 20); print('holds', flush=True); time.sleep(60)"
    script = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    limits = {"resources": {"limits": {"memory": limit}}}
    return {"image": PYTHON, "command": ["python3", "-c", script], **limits, **more}


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        ({"limits": {"memory": "64Mi"}}, 64 * MIB),
        ({"requests": {"memory": "64Mi"}}, None),
        ({"limits": {"cpu": "1"}}, None),
        ({"limits": {"memory": "1G"}}, 10**9),
    ],
)
async def test_only_a_limit_limits(resources: Object, limit: int | None) -> None:
    assert limit_of({"resources": resources}) == limit
    assert limit_of({}) is None


async def test_this_process_is_weighed_with_its_children() -> None:
    assert os.getpid() in processes_of(os.getpid())
    assert held_bytes(os.getpid(), 2**40) > 10 * MIB
    assert held_bytes(2**22 + 1, 1) == 0  # no process has such an id


async def test_a_container_over_its_limit_is_killed_with_all_its_processes(region: Region) -> None:
    name = await region.run(holding(300, "200Mi"), restartPolicy="Never")
    pod = await region.until_phase(name, "Failed", 20)
    terminated = state(pod)["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


async def test_one_that_is_killed_for_memory_again_and_again_backs_off(region: Region) -> None:
    name = await region.run(holding(300, "200Mi"))
    pod = await region.until(name, waits_for("CrashLoopBackOff"), 30)
    [status] = pod["status"]["containerStatuses"]
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert status["restartCount"] >= 1


async def test_a_container_below_its_limit_is_left_alone(region: Region) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 2}
    name = await region.run(holding(50, "400Mi", readinessProbe=probe))
    pod = await region.until(name, lambda p: state(p).get("running") and _ready(p), 20)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def _ready(pod: Object) -> bool:
    return bool(pod["status"]["containerStatuses"][0]["ready"])

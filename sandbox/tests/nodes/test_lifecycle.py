"""A pod's way from being bound to being gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.apiclient import Object
from tests.nodes.conftest import BUSYBOX, PYTHON, Region

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLEEP = {"command": ["sleep", "60"]}


def shell(script: str, **more: Any) -> Object:
    return {"command": ["sh", "-c", script], **more}


def state(pod: Object, index: int = 0) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses") or [{"state": {}}]
    found: Object = statuses[index]["state"]
    return found


def waits_for(reason: str) -> Callable[[Object], bool]:
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason


def condition(pod: Object, kind: str) -> str:
    return str(next(c["status"] for c in pod["status"]["conditions"] if c["type"] == kind))


async def test_a_started_process_is_seen_running_at_once(region: Region) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        await region.until_phase(await region.run(SLEEP), "Running")
        took.append(time.monotonic() - began)
    assert min(took) < 1  # 0.03 s on an idle machine; a period of polling would be seconds


async def test_a_running_pod_has_every_condition_and_its_addresses(region: Region) -> None:
    pod = await region.until_phase(await region.run(SLEEP), "Running")
    kinds = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
    assert [condition(pod, kind) for kind in kinds] == ["True"] * 5
    assert pod["status"]["podIP"].startswith(f"{region.settings.network}.")
    assert pod["status"]["hostIP"].startswith(f"{region.settings.network}.25")
    assert pod["status"]["containerStatuses"][0]["containerID"].startswith("containerd://")


async def test_a_pod_that_is_not_restarted_ends_with_its_exit_code(region: Region) -> None:
    pod = await region.until_phase(await region.run(shell("exit 7"), restartPolicy="Never"), "Failed")
    assert state(pod)["terminated"]["exitCode"] == 7
    assert state(pod)["terminated"]["reason"] == "Error"


async def test_a_pod_succeeds_when_all_containers_do(region: Region) -> None:
    name = await region.run(shell("true"), shell("sleep 0.1"), restartPolicy="Never")
    assert condition(await region.until_phase(name, "Succeeded"), "Ready") == "False"


async def test_an_init_container_runs_before_the_others(region: Region) -> None:
    volume = {"name": "work", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    init = {"name": "init", "image": BUSYBOX, **shell("sleep 0.2; echo made > /work/file"), **mount}
    name = await region.run(
        shell("cat /work/file", **mount), restartPolicy="Never", volumes=[volume], initContainers=[init]
    )
    await region.until_phase(name, "Succeeded")
    assert await region.log(name) == "made\n"


async def test_a_failing_init_container_fails_a_pod_that_never_restarts(region: Region) -> None:
    init = {"name": "init", "image": BUSYBOX, **shell("exit 3")}
    name = await region.run(SLEEP, restartPolicy="Never", initContainers=[init])
    pod = await region.until_phase(name, "Failed")
    assert "waiting" in state(pod)


async def test_a_crashing_container_backs_off_and_counts_its_restarts(region: Region) -> None:
    name = await region.run(shell("exit 1"))
    pod = await region.until(name, waits_for("CrashLoopBackOff"))
    status = pod["status"]["containerStatuses"][0]
    assert pod["status"]["phase"] == "Running"
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    message = await region.until_event(name, "BackOff")
    assert message.startswith(f"Back-off restarting failed container c0 in pod {name}_default(")


async def test_an_unknown_image_is_an_image_pull_back_off(region: Region) -> None:
    name = await region.run({"image": "example.com/nothing:1"})
    await region.until(name, waits_for("ImagePullBackOff"))
    message = next(m for _, m in await region.events(name) if m.startswith("Failed to pull image"))
    assert "example.com/nothing:1: not found" in message


async def test_the_fault_image_not_found_ends_when_it_is_cleared(region: Region) -> None:
    region.faults.set("image-not-found", target="*busybox*")
    name = await region.run({**SLEEP, "imagePullPolicy": "Always"})
    await region.until(name, waits_for("ErrImagePull"))
    region.faults.clear()
    await region.until_phase(name, "Running")


async def test_a_program_the_image_lacks_cannot_start(region: Region) -> None:
    name = await region.run({"command": ["no-such-program"]}, restartPolicy="Never")
    pod = await region.until_phase(name, "Failed")
    assert state(pod)["terminated"]["reason"] == "StartError"
    assert "executable file not found in $PATH" in state(pod)["terminated"]["message"]


async def test_a_container_killed_for_memory_says_so(region: Region) -> None:
    name = await region.run(SLEEP, restartPolicy="Never")
    await region.until_phase(name, "Running")
    region.faults.set("pod-oom-killed", target=name, count=1)
    terminated = state(await region.until_phase(name, "Failed"))["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


async def test_a_deleted_pod_gets_sigterm_and_is_gone_when_it_ends(region: Region) -> None:
    name = await region.run(shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
    await region.until_phase(name, "Running")
    followed = asyncio.create_task(region.log(name, follow="true"))
    await asyncio.sleep(0.2)
    await region.delete(name)
    await region.until_gone(name, 4)
    assert await followed == "up\nbye\n"


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(region: Region) -> None:
    name = await region.run(shell("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await region.until_phase(name, "Running")
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await region.delete(name, gracePeriodSeconds=1)
    await region.until_gone(name, 5)
    assert 0.9 < time.monotonic() - began < 3


async def test_pre_stop_runs_before_sigterm(region: Region) -> None:
    volume = {"name": "work", "emptyDir": {}}
    script = "trap 'cat /work/note; exit 0' TERM; while :; do sleep 0.05; done"
    name = await region.run(
        shell(
            script,
            volumeMounts=[{"name": "work", "mountPath": "/work"}],
            lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo noted > /work/note"]}}},
        ),
        volumes=[volume],
    )
    await region.until_phase(name, "Running")
    followed = asyncio.create_task(region.log(name, follow="true"))
    await asyncio.sleep(0.2)
    await region.delete(name)
    assert await followed == "noted\n"


async def test_a_termination_message_is_read_from_its_file(region: Region) -> None:
    name = await region.run(shell("echo why > /dev/termination-log; exit 1"), restartPolicy="Never")
    pod = await region.until_phase(name, "Failed")
    assert state(pod)["terminated"]["message"] == "why\n"


async def test_active_deadline_fails_the_pod(region: Region) -> None:
    name = await region.run(SLEEP, restartPolicy="Never", activeDeadlineSeconds=1)
    assert (await region.until_phase(name, "Failed"))["status"]["reason"] == "DeadlineExceeded"


async def test_children_of_a_container_do_not_outlive_it(region: Region) -> None:
    script = "sleep 300 & echo $!; exit 0"
    name = await region.run(shell(script), restartPolicy="Never")
    await region.until_phase(name, "Succeeded")
    child = int(await region.log(name))
    assert not _alive(child)


async def test_the_python_of_the_vllm_image_can_import_the_sandbox(region: Region) -> None:
    command = ["python3", "-c", "import slipway_sandbox, boto3; print('imported')"]
    name = await region.run({"image": PYTHON, "command": command}, restartPolicy="Never")
    await region.until_phase(name, "Succeeded")
    assert await region.log(name) == "imported\n"


async def test_events_tell_the_start_in_the_kubelets_words(region: Region) -> None:
    name = await region.run({**SLEEP, "imagePullPolicy": "Always"})
    await region.until_event(name, "Started")
    events = await region.events(name)
    assert ("Pulling", f'Pulling image "{BUSYBOX}"') in events
    assert ("Created", "Created container: c0") in events
    assert ("Started", "Started container c0") in events


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False

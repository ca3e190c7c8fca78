"""Sidecars, lifecycle hooks, termination messages and pull policies, where a simpler kubelet would go wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from slipway_sandbox.apiclient import Object
from tests.nodes.conftest import BUSYBOX, Region, eventually
from tests.nodes.test_lifecycle import SLEEP, shell, state, waits_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHARED: dict[str, Any] = {"volumes": [{"name": "out", "emptyDir": {}}]}
MOUNT: Object = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}


def sidecar(name: str, script: str, **more: Any) -> Object:
    return {"name": name, "image": BUSYBOX, "restartPolicy": "Always", **shell(script, **MOUNT), **more}


def says_when_it_ends(name: str) -> str:
    loop = "while :; do sleep 0.05; done"
    return f"trap 'sleep 0.2; echo {name} >> /out/ends; exit 0' TERM; {loop}"


async def test_sidecars_end_one_by_one_in_reverse_after_the_containers(region: Region) -> None:
    sidecars = [sidecar(n, says_when_it_ends(n)) for n in ("first", "second")]
    reader = {"preStop": {"exec": {"command": ["sh", "-c", "echo main >> /out/ends"]}}}
    name = await region.run(
        shell(says_when_it_ends("stopped"), lifecycle=reader, **MOUNT), initContainers=sidecars, **SHARED
    )
    await region.until_phase(name, "Running")
    uid = (await region.pod(name))["metadata"]["uid"]
    place = region.settings.root / "clusters" / region.cluster / "nodes" / region.node / "pods" / uid
    ends = place / "volumes" / "out" / "ends"
    await region.delete(name)
    seen = ""
    while await region.client.get(region.path("pods", name)):
        seen = ends.read_text() if ends.exists() else seen
    assert seen.split()[:3] == ["main", "stopped", "second"]


async def test_a_sidecar_that_ends_is_started_again(region: Region) -> None:
    helper = sidecar("helper", "sleep 0.3; exit 0")
    name = await region.run(SLEEP, initContainers=[helper], **SHARED)
    await region.until(name, lambda p: _init(p).get("restartCount", 0) >= 1)


def _init(pod: Object) -> Object:
    statuses: list[Object] = pod.get("status", {}).get("initContainerStatuses") or [{}]
    return statuses[0]


async def test_containers_wait_for_a_sidecars_startup_probe(region: Region) -> None:
    up = {"exec": {"command": ["test", "-e", "/out/up"]}, "periodSeconds": 1, "failureThreshold": 20}
    slow = sidecar("slow", "sleep 1.2; touch /out/up; sleep 60", startupProbe=up)
    name = await region.run(shell("ls /out; sleep 60", **MOUNT), initContainers=[slow], **SHARED)
    await region.until_phase(name, "Running", 20)
    assert await eventually(lambda: region.log(name), bool) == "up\n"


async def test_a_failed_post_start_hook_ends_the_container(region: Region) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "exit 3"]}}}
    name = await region.run({**SLEEP, "lifecycle": hook})
    await region.until_event(name, "FailedPostStartHook")
    await region.until(name, lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1)


async def test_a_failing_init_container_is_tried_again_with_back_off(region: Region) -> None:
    failing = {"name": "setup", "image": BUSYBOX, **shell("exit 1")}
    name = await region.run(SLEEP, initContainers=[failing])
    pod = await region.until(
        name, lambda p: _init(p).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    assert state(pod) == {"waiting": {"reason": "PodInitializing"}}
    assert pod["status"]["phase"] == "Pending"


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("echo told; exit 1", "FallbackToLogsOnError", "told\n"),
        ("echo told; exit 1", "File", ""),
        ("echo told; exit 0", "FallbackToLogsOnError", ""),
        ("echo log; echo file > /dev/termination-log; exit 1", "FallbackToLogsOnError", "file\n"),
    ],
)
async def test_a_termination_message_is_the_file_or_on_errors_the_log(
    region: Region, script: str, policy: str, message: str
) -> None:
    name = await region.run(shell(script, terminationMessagePolicy=policy), restartPolicy="Never")
    pod = await region.until(name, lambda p: "terminated" in state(p))
    assert state(pod)["terminated"].get("message", "") == message


async def test_a_fallback_has_no_more_than_80_lines(region: Region) -> None:
    name = await region.run(
        shell("seq 100; exit 1", terminationMessagePolicy="FallbackToLogsOnError"), restartPolicy="Never"
    )
    pod = await region.until_phase(name, "Failed")
    assert state(pod)["terminated"]["message"].split() == [str(n) for n in range(21, 101)]


async def test_an_image_that_is_never_pulled_must_be_there(region: Region) -> None:
    image = "public.ecr.aws/docker/library/busybox:never"
    name = await region.run({**SLEEP, "image": image, "imagePullPolicy": "Never"})
    pod = await region.until(name, waits_for("ErrImageNeverPull"))
    why = f'Container image "{image}" is not present with pull policy of Never'
    assert state(pod)["waiting"]["message"] == why


async def test_a_log_is_read_from_a_moment_on(region: Region) -> None:
    name = await region.run(shell("echo before; sleep 1.5; echo after; sleep 60"))
    await eventually(lambda: region.log(name), lambda text: "before" in text)
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await eventually(lambda: region.log(name), lambda text: "after" in text)
    assert await region.log(name, sinceTime=moment) == "after\n"

"""Lifecycle hooks, termination messages and pull policies, where a simpler kubelet would go wrong."""

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


def _init(pod: Object) -> Object:
    statuses: list[Object] = pod.get("status", {}).get("initContainerStatuses") or [{}]
    return statuses[0]


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

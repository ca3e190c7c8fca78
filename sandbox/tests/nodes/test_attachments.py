"""Attaching goes on in EC2 when the pod it is for is deleted meanwhile: its release detaches."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.loopback import plan_settings
from slipway_sandbox.nodes.attachments import DRIVER, Attachments
from slipway_sandbox.nodes.aws import Aws

VOLUME = {
    "metadata": {"name": "pvc-1"},
    "spec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": DRIVER, "volumeHandle": "vol-1"}},
}
POD = {"metadata": {"uid": "u-1", "name": "probe", "namespace": "kube-system"}}


class Ec2:
    """Attaching takes until `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go, self.done = (threading.Event() for _ in range(3))
        self.attached: set[str] = set()

    def attach_volume(self, VolumeId: str, **_: Any) -> None:  # noqa: N803
        self.begun.set()
        assert self.go.wait(10)
        self.attached.add(VolumeId)
        self.done.set()

    def detach_volume(self, VolumeId: str, **_: Any) -> None:  # noqa: N803
        self.attached.discard(VolumeId)


class Api:
    """The API server and the recorder of events, which take everything."""

    def path(self, *_: Any) -> str:
        return ""

    async def delete(self, *_: Any) -> None: ...

    def record(self, *_: Any, **__: Any) -> None: ...


@pytest.mark.asyncio
async def test_a_pod_that_is_deleted_while_its_volume_is_attached_leaves_none_attached(
    tmp_path: Path,
) -> None:
    ec2, aws, api = Ec2(), Aws(plan_settings(tmp_path)), Api()
    aws.__dict__["ec2"] = ec2
    anything: Any = api
    attachments = Attachments(anything, aws, anything, tmp_path, lambda node: "i-1")
    attaching = asyncio.create_task(attachments.attach(VOLUME, "node-1", POD))
    await asyncio.to_thread(ec2.begun.wait, 10)
    attaching.cancel()
    released = asyncio.create_task(attachments.release("u-1"))
    await asyncio.sleep(0.05)
    ec2.go.set()
    with pytest.raises(asyncio.CancelledError):
        await attaching
    await released
    assert await asyncio.to_thread(ec2.done.wait, 10)
    aws.close()
    assert ec2.attached == set()

"""The door to the region, against a region of three lines; EKS behind it without a server between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from moto.ec2.models import ec2_backends

from slipway_sandbox.aws.eks import Eks
from slipway_sandbox.aws.eks.door import Door, DoorClosed
from slipway_sandbox.aws.eks.state import Clock
from slipway_sandbox.aws.wire import Caller, Document
from slipway_sandbox.faults import Faults
from slipway_sandbox.loopback import free_port
from slipway_sandbox.settings import ACCESS_KEY, ACCOUNT_ID, DEFAULT_REGION, Settings

CALLER = Caller(ACCESS_KEY, DEFAULT_REGION)


class Region(ThreadingHTTPServer):
    asked: list[str]


class Answers(BaseHTTPRequestHandler):
    server: Region

    def answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        plane = {"endpoint": "https://127.0.0.1:6443", "certificateAuthority": "cGVt"}
        body = json.dumps(plane).encode()
        self.send_response(500 if "broken" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = answer  # noqa: N815  http.server's names
    do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("SLIPWAY_SANDBOX_NO_REGION", raising=False)
    return Settings(
        root=tmp_path,
        network="127.98",
        aws_port=0,
        control_port=free_port(),
        hub_port=0,
        cdn_port=0,
        metrics_port=0,
        prefect_port=0,
    )


@pytest.fixture
def region(settings: Settings) -> Iterator[Region]:
    server = Region(("127.0.0.1", settings.control_port), Answers)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def wanted(name: str) -> Document:
    role = "arn:aws:iam::123456789012:root"
    subnets = [subnet.id for subnet in ec2_backends[ACCOUNT_ID][DEFAULT_REGION].describe_subnets()[:2]]
    return {"name": name, "roleArn": role, "resourcesVpcConfig": {"subnetIds": subnets}}


class Time:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds)


def test_a_door_nobody_answers_is_closed(settings: Settings) -> None:
    with pytest.raises(DoorClosed, match="does not answer"):
        Door(settings).open("c")


def test_the_region_says_where_the_control_plane_is(settings: Settings, region: Region) -> None:
    plane = Door(settings).open("c")
    assert (plane.endpoint, plane.certificate_authority) == ("https://127.0.0.1:6443", "cGVt")
    assert region.asked == ["PUT /control-planes/c"]


def test_a_cluster_lives_from_put_to_delete_at_the_door(settings: Settings, region: Region) -> None:
    time = Time()
    eks = Eks(settings, Faults(settings.faults_file), time.clock())
    assert eks.create_cluster(wanted("c"), CALLER)["cluster"]["status"] == "CREATING"
    time.seconds += settings.cluster_boot_seconds
    shown = eks.describe_cluster({"name": "c"}, CALLER)["cluster"]
    assert (shown["status"], shown["endpoint"]) == ("ACTIVE", "https://127.0.0.1:6443")
    eks.delete_cluster({"name": "c"}, CALLER)
    assert region.asked == ["PUT /control-planes/c", "DELETE /control-planes/c"]
    time.seconds += 1
    assert eks.list_clusters({}, CALLER)["clusters"] == []


def test_a_cluster_whose_control_plane_does_not_start_fails_and_says_why(
    settings: Settings, region: Region
) -> None:
    time = Time()
    eks = Eks(settings, Faults(settings.faults_file), time.clock())
    eks.create_cluster(wanted("broken"), CALLER)
    time.seconds += settings.cluster_boot_seconds
    shown = eks.describe_cluster({"name": "broken"}, CALLER)["cluster"]
    assert shown["status"] == "FAILED"
    assert "the sandbox's region answered 500" in shown["health"]["issues"][0]["message"]
    assert "endpoint" not in shown

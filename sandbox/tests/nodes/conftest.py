"""A region for the nodes' tests: the AWS emulation as its own process, an API server and the nodes on the tests' loop.

There are no controllers and no scheduler: tests bind pods themselves and write EndpointSlices and bindings by hand, which shows
that nodes need nothing but the API.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import uvloop

from slipway_sandbox.apiclient import ApiClient, Object
from slipway_sandbox.clients import SandboxSession
from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes.certificates import make_authority
from slipway_sandbox.kubernetes.errors import Unauthorized
from slipway_sandbox.kubernetes.server import ApiServer
from slipway_sandbox.nodes import run_nodes
from slipway_sandbox.settings import Settings
from slipway_sandbox.testing import start

BUSYBOX = "public.ecr.aws/docker/library/busybox:1.37"
PYTHON = "vllm/vllm-openai:v0.11.0"
CLUSTER = "nodes-test"
TOKEN = "nodes"


@dataclass
class Region:
    """What a test needs: the client, AWS, the faults, and verbs that wait for what they ask."""

    client: ApiClient
    trust: ssl.SSLContext
    settings: Settings
    faults: Faults
    cluster: str = CLUSTER
    subnets: list[str] = field(default_factory=list)
    role: str = ""
    node: str = ""
    namespace: str = "default"
    made: list[str] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)

    def aws(self, service: str) -> Any:
        if service in self.clients:  # making one takes longer than most tests
            return self.clients[service]
        self.clients[service] = SandboxSession(self.settings).client(service)
        return self.clients[service]

    def path(self, plural: str, name: str | None = None, sub: str | None = None) -> str:
        return self.client.path("v1", plural, self.namespace, name, sub)

    async def run(
        self,
        *containers: Object,
        name: str = "",
        node: str | None = None,
        labels: Object | None = None,
        **spec: Any,
    ) -> str:
        """Create a pod bound to the CPU node; its name. A container may leave out name and image."""
        name = name or f"pod-{secrets.token_hex(4)}"
        filled = [{"name": f"c{i}", "image": BUSYBOX, **c} for i, c in enumerate(containers)]
        body = {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {
                "nodeName": node or self.node,
                "terminationGracePeriodSeconds": 5,
                "containers": filled,
                **spec,
            },
        }
        await self.client.create(self.path("pods"), body)
        self.made.append(name)
        return name

    async def pod(self, name: str) -> Object:
        found = await self.client.get(self.path("pods", name))
        assert found is not None, f"pod {name} is gone"
        return found

    async def until(self, name: str, holds: Callable[[Object], Any], seconds: float = 30) -> Object:
        """The pod once `holds` is true of it."""
        found: Object = await eventually(lambda: self.pod(name), holds, seconds)
        return found

    async def until_phase(self, name: str, phase: str, seconds: float = 30) -> Object:
        return await self.until(name, lambda pod: pod.get("status", {}).get("phase") == phase, seconds)

    async def until_gone(self, name: str, seconds: float = 30) -> None:
        await eventually(lambda: self.client.get(self.path("pods", name)), lambda pod: pod is None, seconds)

    async def delete(self, name: str, **options: Any) -> None:
        await self.client.delete(self.path("pods", name), **options)

    async def log(self, pod: str, container: str = "c0", **query: str) -> str:
        url = self.client.server + self.path("pods", pod, "log")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(url, params={"container": container, **query}, ssl=self.trust) as response,
        ):
            return await response.text()

    async def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the events about one object."""
        items = await self.client.list(self.path("events"), fieldSelector=f"involvedObject.name={name}")
        return [(item["reason"], item["message"]) for item in items]

    async def until_event(self, name: str, reason: str, seconds: float = 30) -> str:
        """The message of the first event of that reason."""
        found = await eventually(
            lambda: self.events(name), lambda events: any(r == reason for r, _ in events), seconds
        )
        return str(next(message for r, message in found if r == reason))

    async def nodes(self, group: str) -> list[Object]:
        return await self.client.list(
            self.client.path("v1", "nodes"), labelSelector=f"eks.amazonaws.com/nodegroup={group}"
        )

    async def make_group(self, name: str, size: int, *kinds: str, **more: Any) -> list[Object]:
        """A node group and its nodes, once they are there."""
        await asyncio.to_thread(
            self.aws("eks").create_nodegroup,
            clusterName=self.cluster,
            nodegroupName=name,
            subnets=self.subnets,
            nodeRole=self.role,
            instanceTypes=list(kinds) or ["m6i.large"],
            scalingConfig={"minSize": 0, "maxSize": 10, "desiredSize": size},
            **more,
        )
        nodes: list[Object] = await eventually(lambda: self.nodes(name), lambda nodes: len(nodes) == size, 15)
        await self.until_active(name)
        return nodes

    async def until_active(self, group: str) -> None:
        await eventually(lambda: self._group_status(group), lambda status: status == "ACTIVE")

    async def add_on(self, name: str, **more: Any) -> None:
        """Install an EKS add-on, unless an earlier test did, and wait until it is active."""
        eks, both = self.aws("eks"), {"clusterName": self.cluster, "addonName": name}
        with suppress(eks.exceptions.ResourceInUseException):
            await asyncio.to_thread(eks.create_addon, **both, **more)

        async def status() -> str:
            return str((await asyncio.to_thread(eks.describe_addon, **both))["addon"]["status"])

        await eventually(status, lambda found: found == "ACTIVE")

    async def remove_add_on(self, name: str) -> None:
        eks = self.aws("eks")
        await asyncio.to_thread(eks.delete_addon, clusterName=self.cluster, addonName=name)

        async def left() -> list[str]:
            answer = await asyncio.to_thread(eks.list_addons, clusterName=self.cluster)
            return list(answer["addons"])

        await eventually(left, lambda names: name not in names)

    async def _group_status(self, name: str) -> str:
        described = await asyncio.to_thread(
            self.aws("eks").describe_nodegroup, clusterName=self.cluster, nodegroupName=name
        )
        return str(described["nodegroup"]["status"])

    async def scale(self, name: str, size: int) -> None:
        await asyncio.to_thread(
            self.aws("eks").update_nodegroup_config,
            clusterName=self.cluster,
            nodegroupName=name,
            scalingConfig={"desiredSize": size},
        )


async def eventually(
    read: Callable[[], Awaitable[Any]], holds: Callable[[Any], Any], seconds: float = 30
) -> Any:
    """What `read` returns once `holds` is true of it; fails after `seconds`, showing the last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = await read()
        if holds(value):
            return value
        assert time.monotonic() < deadline, f"still {value}"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop the region's process runs on."""
    policy: asyncio.AbstractEventLoopPolicy = uvloop.EventLoopPolicy()
    return policy


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """A sandbox's settings, its AWS running."""
    speeds = {
        "crash_backoff_seconds": 0.3,
        "spot_notice_seconds": 0.5,
        "snapshot_seconds": 0.3,
        "drain_seconds": 3.0,
    }
    with (
        tempfile.TemporaryDirectory(prefix="nodes-") as folder,
        start(Path(folder), parts=("aws",), speeds=speeds) as running,
    ):
        yield Settings.load(running.root)


@asynccontextmanager
async def control_plane(settings: Settings, cluster: str) -> AsyncIterator[Region]:
    """An API server that listens with TLS, and a cluster of that name in EKS; no nodes yet."""

    async def authenticate(token: str | None) -> str:
        if token != TOKEN:
            raise Unauthorized
        return "system:masters"

    authority, faults = make_authority(), Faults(settings.faults_file)
    server = ApiServer(
        name=cluster, authenticate=authenticate, faults=faults, service_network=settings.network
    )
    port = await server.start("127.0.0.1", 0, authority.server_context())
    trust = ssl.create_default_context(cadata=authority.ca_pem.decode())
    async with ApiClient(f"https://127.0.0.1:{port}", TOKEN, trust) as client:
        region = Region(client, trust, settings, faults, cluster)
        await asyncio.to_thread(_make_cluster, region)
        yield region
    await server.stop()


@asynccontextmanager
async def nodes_of(region: Region) -> AsyncIterator[None]:
    """The region's nodes, running."""
    running = asyncio.create_task(run_nodes(region.client, region.settings, region.faults, region.cluster))
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(settings: Settings) -> AsyncIterator[Region]:
    """One running cluster with one CPU node, for every test here."""
    async with control_plane(settings, CLUSTER) as region, nodes_of(region):
        region.node = (await region.make_group("cpu", 1, "m6i.2xlarge"))[0]["metadata"]["name"]
        yield region


@pytest_asyncio.fixture(loop_scope="session")
async def region(shared: Region) -> AsyncIterator[Region]:
    """The shared cluster, with no faults before and no pods of the test after."""
    shared.faults.clear()
    yield shared
    shared.faults.clear()
    for name in shared.made:
        await shared.delete(name, gracePeriodSeconds=0)
    shared.made.clear()


def _make_cluster(region: Region) -> None:
    ec2, iam, eks = region.aws("ec2"), region.aws("iam"), region.aws("eks")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for index, zone in enumerate("ab"):
        made = ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"us-east-1{zone}"
        )
        region.subnets.append(made["Subnet"]["SubnetId"])
    region.role = iam.create_role(RoleName=region.cluster, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    eks.create_cluster(
        name=region.cluster, roleArn=region.role, resourcesVpcConfig={"subnetIds": region.subnets}
    )
    deadline = time.monotonic() + 10
    while eks.describe_cluster(name=region.cluster)["cluster"]["status"] != "ACTIVE":
        assert time.monotonic() < deadline
        time.sleep(0.05)

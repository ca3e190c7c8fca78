"""Services answer on their addresses, for as long as an endpoint is ready."""

from __future__ import annotations

import asyncio
import time

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.services import backends_of, hosts_lines
from tests.nodes.conftest import Region, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Backend:
    """A server that says its name and then echoes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0

    async def __aenter__(self) -> Backend:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name.encode() + b"\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def endpoint_slice(service: str, name: str, port: int, *, ready: bool = True) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def slices(region: Region, name: str | None = None) -> str:
    return region.client.path("discovery.k8s.io/v1", "endpointslices", "default", name)


async def make_service(region: Region, name: str, **spec: object) -> str:
    """The service's cluster IP."""
    body = {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}
    made = await region.client.create(region.path("services"), body)
    return str(made["spec"]["clusterIP"])


async def call(address: str, port: int = 80) -> str | None:
    """The first line a connection brings; None where it is refused."""
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return None
    line = (await reader.readline()).decode().strip()
    writer.close()
    return line


async def test_a_service_refuses_until_an_endpoint_is_ready_and_after_the_last_has_gone(
    region: Region,
) -> None:
    address = await make_service(region, "alone")
    assert await call(address) is None
    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("alone", "alone-1", one.port))
        await eventually(lambda: call(address), lambda line: line == "one")
        await region.client.replace(
            slices(region, "alone-1"), endpoint_slice("alone", "alone-1", one.port, ready=False)
        )
        await eventually(lambda: call(address), lambda line: line is None)


async def test_connections_take_turns(region: Region) -> None:
    address = await make_service(region, "turns")
    async with Backend("one") as one, Backend("two") as two:
        await region.client.create(slices(region), endpoint_slice("turns", "turns-1", one.port))
        await region.client.create(slices(region), endpoint_slice("turns", "turns-2", two.port))
        await eventually(lambda: call(address), lambda line: line == "one")
        await eventually(lambda: call(address), lambda line: line == "two")
        lines = [await call(address) for _ in range(4)]
        assert sorted(filter(None, lines)) == ["one", "one", "two", "two"]


async def test_a_connection_outlives_its_endpoints_readiness(region: Region) -> None:
    address = await make_service(region, "drain")
    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("drain", "drain-1", one.port))
        await eventually(lambda: call(address), lambda line: line == "one")
        reader, writer = await asyncio.open_connection(address, 80)
        assert await reader.readline() == b"one\n"
        await region.client.delete(slices(region, "drain-1"))
        await eventually(lambda: call(address), lambda line: line is None)
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()


async def test_a_cut_path_neither_answers_nor_refuses_until_it_is_whole_again(region: Region) -> None:
    address = await make_service(region, "cut")

    async def attempt() -> str | None:
        try:
            return await asyncio.wait_for(call(address), 0.5)
        except TimeoutError:
            return "no answer"
        except ConnectionResetError:  # it was in the queue of the listener when the path was cut
            return None

    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("cut", "cut-1", one.port))
        await eventually(attempt, lambda line: line == "one")
        region.faults.set("path-cut", target="cut.default.*")
        try:
            await eventually(attempt, lambda line: line == "no answer")
            assert await attempt() == "no answer"
        finally:
            region.faults.clear("path-cut")
        await eventually(attempt, lambda line: line == "one")


async def test_much_data_passes_whole_in_both_directions(region: Region) -> None:
    address = await make_service(region, "bulk")
    payload = bytes(range(256)) * 80_000  # 20 MB
    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("bulk", "bulk-1", one.port))
        await eventually(lambda: call(address), lambda line: line == "one")
        reader, writer = await asyncio.open_connection(address, 80)
        await reader.readline()
        began = time.monotonic()

        async def send() -> None:
            for start in range(0, len(payload), 1 << 16):
                writer.write(payload[start : start + (1 << 16)])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read(-1) == payload
        await sending
        writer.close()
        assert time.monotonic() - began < 5


async def test_a_load_balancer_gets_an_address_and_answers_there(region: Region) -> None:
    await make_service(region, "front", type="LoadBalancer")
    service = await eventually(
        lambda: region.client.get(region.path("services", "front")),
        lambda s: s["status"].get("loadBalancer", {}).get("ingress"),
    )
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    assert address.startswith(f"{region.settings.network}.200.")
    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("front", "front-1", one.port))
        await eventually(lambda: call(address), lambda line: line == "one")


async def test_a_deleted_service_no_longer_listens(region: Region) -> None:
    address = await make_service(region, "brief")
    async with Backend("one") as one:
        await region.client.create(slices(region), endpoint_slice("brief", "brief-1", one.port))
        await eventually(lambda: call(address), lambda line: line == "one")
        await region.client.delete(region.path("services", "brief"))
        await eventually(lambda: call(address), lambda line: line is None)


async def test_the_hosts_file_names_services(region: Region) -> None:
    address = await make_service(region, "named")
    hosts = region.settings.root / "clusters" / region.cluster / "hosts"

    async def read() -> str:
        return hosts.read_text()

    line = f"{address} named.default.svc.cluster.local named.default.svc named.default\n"
    await eventually(read, lambda text: line in text)


async def test_a_headless_services_names_lead_to_its_ready_pods() -> None:
    service = {"metadata": {"name": "h", "namespace": "n"}, "spec": {"clusterIP": "None"}}
    endpoints = {
        "endpoints": [
            {"addresses": ["127.1.1.1"], "conditions": {"ready": True}},
            {"addresses": ["127.1.1.2"], "conditions": {"ready": False}},
        ]
    }
    lines = hosts_lines([service], {("n", "h"): [endpoints]})
    assert lines == ["127.1.1.1 h.n.svc.cluster.local h.n.svc h.n"]


async def test_serving_terminating_endpoints_are_used_only_when_none_is_ready() -> None:
    def slice_of(*conditions: Object) -> Object:
        endpoints = [{"addresses": [f"10.0.0.{i}"], "conditions": c} for i, c in enumerate(conditions)]
        return {"ports": [{"name": "", "port": 1}], "endpoints": endpoints}

    ready = {"ready": True, "serving": True, "terminating": False}
    ending = {"ready": False, "serving": True, "terminating": True}
    service: Object = {"spec": {}}
    assert backends_of(service, {}, [slice_of(ready, ending)]) == (("10.0.0.0", 1),)
    assert backends_of(service, {}, [slice_of(ending)]) == (("10.0.0.0", 1),)
    assert backends_of(service, {}, [slice_of({"ready": False})]) == ()

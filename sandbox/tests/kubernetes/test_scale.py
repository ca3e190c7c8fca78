"""A busy cluster's numbers: 2,000 objects listed, 200 pods watched. How fast it is says bench/control_plane.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp

from slipway_sandbox.control_plane.credentials import read
from tests.kubernetes.conftest import Cluster, pod

_OBJECTS, _WATCHED = 2000, 200
_DEADLINE = 120.0  # seconds, for a machine that does much else


@contextlib.asynccontextmanager
async def _session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    credentials = read(cluster.kubeconfig)
    connector = aiohttp.TCPConnector(ssl=credentials.trust(), limit=0)
    headers = credentials.headers()
    async with aiohttp.ClientSession(credentials.server, connector=connector, headers=headers) as session:
        yield session


async def _create(session: aiohttp.ClientSession, path: str, bodies: Iterable[Any]) -> None:
    lanes = asyncio.Semaphore(16)

    async def one(body: Any) -> None:
        async with lanes, session.post(path, json=body) as response:
            assert response.status == 201, await response.text()

    await asyncio.gather(*map(one, bodies))


async def _get(session: aiohttp.ClientSession, path: str, **query: str) -> Any:
    async with session.get(path, params=query) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def test_two_thousand_objects_are_listed_whole(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    wanted = [f"object-{n:04d}" for n in range(_OBJECTS)]

    async def run() -> list[str]:
        async with _session(cluster) as session:
            await _create(
                session,
                path,
                ({"metadata": {"name": name}, "stringData": {"key": "value"}} for name in wanted),
            )
            return [item["metadata"]["name"] for item in (await _get(session, path))["items"]]

    assert asyncio.run(asyncio.wait_for(run(), _DEADLINE)) == wanted


def test_two_hundred_watchers_each_see_their_pod_and_no_other(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    names = [f"watched-{n:03d}" for n in range(_WATCHED)]
    seen: dict[str, list[tuple[str, str]]] = {name: [] for name in names}

    async def follow(session: aiohttp.ClientSession, name: str) -> None:
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        async with session.get(path, params=query, timeout=aiohttp.ClientTimeout(_DEADLINE)) as response:
            async for line in response.content:
                event = json.loads(line)
                seen[name].append((event["type"], event["object"]["metadata"]["name"]))

    async def until(count: int) -> None:
        while any(len(events) < count for events in seen.values()):  # noqa: ASYNC110 -- 200 lists, no one event
            await asyncio.sleep(0.02)

    async def run() -> None:
        async with _session(cluster) as session:
            await _create(session, path, (pod(name, schedulerName="nobody") for name in names))
            tasks = [asyncio.create_task(follow(session, name)) for name in names]
            try:
                await until(1)
                for name in names:
                    labels = json.dumps({"metadata": {"labels": {"seen": "yes"}}})
                    headers = {"Content-Type": "application/merge-patch+json"}
                    async with session.patch(f"{path}/{name}", data=labels, headers=headers) as answer:
                        assert answer.status == 200
                await until(2)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), _DEADLINE))
    assert seen == {name: [("ADDED", name), ("MODIFIED", name)] for name in names}

"""A control plane of somebody else's for the `cluster` fixture: how it is reached, and how it is left empty.

`SLIPWAY_CONFORMANCE_KUBECONFIG=FILE pytest tests/controllers` holds what the tests expect of our controllers and
scheduler against those behind that file. There must be no kubelets and nothing of value there: every test begins with all
nodes, workloads, volumes, classes and definitions deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.control_plane.credentials import read
from slipway_sandbox.controllers.controller import utc_now
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    DAEMON_SETS,
    DEFINITIONS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    REVISIONS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    Resource,
    is_deleting,
    key_of,
    precise_timestamp,
)

THEIRS = os.environ.get("SLIPWAY_CONFORMANCE_KUBECONFIG")
CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
_WIPED = (
    DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS, REPLICA_SETS, PODS, SERVICES, DISRUPTION_BUDGETS, CLAIMS, VOLUMES,
    STORAGE_CLASSES, REVISIONS, CONFIG_MAPS, NODES, DEFINITIONS, NAMESPACES, EVENTS,
)  # fmt: skip
_SYSTEM = {"default", "kube-system", "kube-public", "kube-node-lease"}
_KEPT = {("", name) for name in _SYSTEM} | {("default", "kubernetes")}
_WIPE_SECONDS = 90.0
_RENEW_SECONDS = 10.0


def ours_only(reason: str) -> pytest.MarkDecorator:
    """Marks a test that another control plane cannot pass: it has no faults, other clocks, other objects in it."""
    return pytest.mark.skipif(bool(THEIRS), reason=f"ours only: {reason}")


@contextlib.asynccontextmanager
async def theirs(file: Path) -> AsyncIterator[ApiClient]:
    """A client of that control plane, emptied; leases of nodes are renewed as long as it is open."""
    credentials = read(file)
    async with ApiClient(credentials.server, credentials.token, credentials.trust()) as client:
        await wipe(client)
        renewing = asyncio.create_task(_renew_leases(client))
        try:
            yield client
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


async def wipe(client: ApiClient) -> None:
    """Delete what tests make, until it is gone; finalizers nobody is left to take off are taken off."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while left := [(r, item) for r in _WIPED for item in await _items(client, r)]:
        assert loop.time() < begun + _WIPE_SECONDS, f"not gone: {[(r.kind, *key_of(i)) for r, i in left]}"
        for resource, item in left:
            await _remove(client, resource, item, by_force=loop.time() > begun + 5)
        await asyncio.sleep(0.1)


async def _items(client: ApiClient, resource: Resource) -> list[Object]:
    items = await client.list(ApiClient.path(resource.api, resource.plural))
    return [
        item
        for item in items
        if key_of(item) not in _KEPT
        and key_of(item)[0] not in _SYSTEM - {"default"}
        # A controller publishes certificates in every namespace, again and again.
        and not (resource is CONFIG_MAPS and key_of(item)[1].endswith(".crt"))
    ]


async def _remove(client: ApiClient, resource: Resource, item: Object, *, by_force: bool) -> None:
    namespace, name = key_of(item)
    path = ApiClient.path(resource.api, resource.plural, namespace or None, name)
    try:
        if not is_deleting(item) or resource is PODS:
            await client.delete(path, gracePeriodSeconds=0, propagationPolicy="Background")
        elif by_force and item["metadata"].get("finalizers"):
            await client.patch(path, {"metadata": {"finalizers": None}})
    except ApiError as error:
        if error.code not in (404, 409):
            raise


async def _renew_leases(client: ApiClient) -> None:
    """As kubelets do: a real node controller calls a node lost whose lease it has not seen renewed."""
    while True:
        for node in await client.list(ApiClient.path(NODES.api, NODES.plural)):
            name = node["metadata"]["name"]
            spec = {
                "holderIdentity": name,
                "leaseDurationSeconds": 40,
                "renewTime": precise_timestamp(utc_now()),
            }
            lease = {"apiVersion": LEASES.api, "kind": LEASES.kind, "metadata": {"name": name}, "spec": spec}
            path = ApiClient.path(LEASES.api, LEASES.plural, "kube-node-lease", name)
            try:
                await client.patch(path, {"spec": spec})
            except ApiError as error:
                if error.code != 404:
                    raise
                await client.create(ApiClient.path(LEASES.api, LEASES.plural, "kube-node-lease"), lease)
        await asyncio.sleep(_RENEW_SECONDS)

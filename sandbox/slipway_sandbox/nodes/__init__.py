"""The nodes of one cluster and all that runs on them: node groups, self-managed nodes, kubelets, services, volumes, GPUs, pod identities."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine

import aiohttp

from slipway_sandbox.apiclient import ApiClient, Informer, Object
from slipway_sandbox.faults import Faults
from slipway_sandbox.nodes import gpu
from slipway_sandbox.nodes.addresses import pool_of
from slipway_sandbox.nodes.attachments import Attachments
from slipway_sandbox.nodes.aws import Aws
from slipway_sandbox.nodes.ebs.csi import run_storage
from slipway_sandbox.nodes.events import EventRecorder
from slipway_sandbox.nodes.kubelet.process import ProcessGuard
from slipway_sandbox.nodes.machine import Machine
from slipway_sandbox.nodes.misfortunes import Misfortunes
from slipway_sandbox.nodes.node_groups import NodeGroups
from slipway_sandbox.nodes.platform import Platform
from slipway_sandbox.nodes.pod_identity import PodIdentityAgent
from slipway_sandbox.nodes.self_managed import SelfManagedNodes
from slipway_sandbox.nodes.services import Services
from slipway_sandbox.settings import Settings

__all__ = ["run_nodes"]


class Nodes:
    """Every machine of the cluster, whoever has launched it."""

    def __init__(self, groups: NodeGroups, self_managed: SelfManagedNodes) -> None:
        self._groups, self._self_managed = groups, self_managed

    def machines(self) -> list[Machine]:
        return [*self._groups.machines(), *self._self_managed.machines()]

    def machine(self, name: str) -> Machine | None:
        return next((machine for machine in self.machines() if machine.name == name), None)

    async def reclaim(self, machine: Machine, notice: float) -> None:
        """EC2 takes a spot instance back `notice` seconds after saying so."""
        source = self._groups if machine.spec.group else self._self_managed
        await source.reclaim(machine, notice)


class _BoundPods:
    """The pods of the cluster by node, and the news of them to the machines they are bound to."""

    def __init__(self, client: ApiClient) -> None:
        self.informer = Informer(client, client.path("v1", "pods"), self._changed)
        self.nodes: Nodes | None = None
        self._by_node: dict[str, dict[str, Object]] = defaultdict(dict)

    def of(self, node: str) -> list[Object]:
        return list(self._by_node[node].values())

    def _changed(self, kind: str, pod: Object) -> None:
        node, uid = pod["spec"].get("nodeName"), pod["metadata"]["uid"]
        if not node:
            return
        if kind == "DELETED":
            self._by_node[node].pop(uid, None)
        else:
            self._by_node[node][uid] = pod
        machine = self.nodes.machine(node) if self.nodes else None
        if machine:
            machine.on_pod(kind, pod)


async def run_nodes(client: ApiClient, settings: Settings, faults: Faults, cluster: str) -> None:
    """Serve the nodes of `cluster` for ever. When cancelled, every pod process is ended before it returns.

    Speaks only the Kubernetes API through `client` and AWS as `settings` names it. Should this process be killed, its pods'
    processes are killed too (see `slipway_sandbox.nodes.guard`).
    """
    async with contextlib.AsyncExitStack() as stack:
        aws = Aws(settings)
        stack.callback(aws.close)
        await aws.open()
        guard = ProcessGuard()
        guard.open()
        stack.callback(guard.close)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        identity = PodIdentityAgent(aws, cluster)
        await identity.start()
        stack.push_async_callback(identity.stop)
        events = EventRecorder(client)
        pods = _BoundPods(client)

        def instance_of(node: str) -> str:
            machine = nodes.machine(node)
            return machine.spec.instance_id if machine else ""

        platform = Platform(
            client=client,
            settings=settings,
            faults=faults,
            cluster=cluster,
            aws=aws,
            events=events,
            addresses=pool_of(settings.network),
            guard=guard,
            http=http,
            attacher=Attachments(client, aws, events, settings.root / "volumes", instance_of),
            credentials=identity.variables,
            forget_credentials=identity.forget,
        )
        platform.write_kubeconfig()
        services = Services(platform)
        platform.services = services.services
        groups, self_managed = NodeGroups(platform, pods.of), SelfManagedNodes(platform, pods.of)
        nodes = pods.nodes = Nodes(groups, self_managed)
        stack.push_async_callback(groups.stop)
        stack.push_async_callback(self_managed.stop)
        await _together(
            pods.informer.run(),
            services.run(),
            events.run(),
            groups.run(),
            self_managed.run(),
            gpu.advertise(nodes.machines),
            Misfortunes(faults, settings, nodes, pods.of).run(),
            run_storage(platform, identity, settings.root / "volumes"),
        )


async def _together(*parts: Coroutine[None, None, None]) -> None:
    """Run all for ever; when one fails, all end and its error is raised."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)

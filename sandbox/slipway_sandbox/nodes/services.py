"""kube-proxy, cluster DNS and cloud load balancers in one: services answer on their addresses and have names."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping

import aiohttp

from slipway_sandbox.apiclient import ApiError, Informer, Object
from slipway_sandbox.faults import Fault
from slipway_sandbox.nodes.addresses import AddressesExhausted, Block
from slipway_sandbox.nodes.forward import Backend, Listener
from slipway_sandbox.nodes.load_balancers import UNREAD, LoadBalancers
from slipway_sandbox.nodes.platform import Platform

log = logging.getLogger(__name__)

SERVICE_LABEL = "kubernetes.io/service-name"
RETRY_SECONDS = 0.3
PATH_CUT, LOOK_SECONDS = "path-cut", 0.25
Name = tuple[str, str]


def backends_of(service: Object, port: Object, slices: Iterable[Object]) -> tuple[Backend, ...]:
    """The ready endpoints behind one service port, sorted; with none ready, the serving ones that are terminating."""
    ready: set[Backend] = set()
    terminating: set[Backend] = set()
    for endpoint_slice in slices:
        for target in endpoint_slice.get("ports") or []:
            if (target.get("name") or "") != (port.get("name") or "") or target.get("port") is None:
                continue
            for endpoint in endpoint_slice.get("endpoints") or []:
                conditions = endpoint.get("conditions") or {}
                found = {(address, target["port"]) for address in endpoint["addresses"]}
                if conditions.get("ready") is not False or service["spec"].get("publishNotReadyAddresses"):
                    ready |= found
                elif conditions.get("serving") and conditions.get("terminating"):
                    terminating |= found
    return tuple(sorted(ready or terminating))


def hosts_lines(
    services: Iterable[Object],
    slices: Mapping[Name, list[Object]],
    reach: Callable[[str], str] = lambda address: address,
) -> list[str]:
    """Lines of a hosts file: a service's cluster IP as `reach` finds it, or a headless service's ready pods."""
    lines = []
    for service in services:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        address = service["spec"].get("clusterIP")
        names = f"{name}.{namespace}.svc.cluster.local {name}.{namespace}.svc {name}.{namespace}"
        if address == "None":
            pods = {
                ip
                for endpoint_slice in slices.get((namespace, name), [])
                for endpoint in endpoint_slice.get("endpoints") or []
                if (endpoint.get("conditions") or {}).get("ready") is not False
                for ip in endpoint["addresses"]
            }
            lines += [f"{ip} {names}" for ip in sorted(pods)]
        elif address:
            lines.append(f"{reach(address)} {names}")
    return sorted(lines)


class Services:
    """Listens for every service. A failed listen is said in an event and tried again."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        client = platform.client
        self._wake = asyncio.Event()
        self.services = Informer(client, client.path("v1", "services"), self._changed)
        self._slices = Informer(client, client.path("discovery.k8s.io/v1", "endpointslices"), self._changed)
        self._listeners: dict[Backend, Listener] = {}
        self._by_controller = LoadBalancers(platform)
        self._balancers: dict[Name, str] = {}
        self._aliases: dict[str, str] = {}  # cluster IP -> the address it is reached at
        self._hosts: list[str] | None = None

    def _changed(self, _kind: str, _item: Object) -> None:
        self._wake.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.services.run())
                group.create_task(self._slices.run())
                group.create_task(self._work())
                group.create_task(self._look_for_cuts())
        finally:
            for listener in self._listeners.values():
                listener.close()
            for address in [*self._balancers.values(), *self._aliases.values()]:
                self._platform.addresses.release(address)

    async def _work(self) -> None:
        await self.services.synced.wait()
        await self._slices.synced.wait()
        while True:
            self._wake.clear()
            if not await self._converge():
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._wake.wait()

    async def _look_for_cuts(self) -> None:
        """Converge whenever the fault path-cut is switched."""
        known: list[Fault] = []
        while True:
            cuts = [fault for fault in self._platform.faults.active() if fault.name == PATH_CUT]
            if cuts != known:
                known = cuts
                self._wake.set()
            await asyncio.sleep(LOOK_SECONDS)

    def _is_cut(self, service: Object) -> bool:
        metadata = service["metadata"]
        name = f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
        return self._platform.faults.is_on(PATH_CUT, name)

    async def _converge(self) -> bool:
        """Make listeners, balancers and the hosts file as they should be; False to try again."""
        slices: dict[Name, list[Object]] = {}
        for (namespace, _), item in self._slices.objects.items():
            owner = (item["metadata"].get("labels") or {}).get(SERVICE_LABEL, "")
            slices.setdefault((namespace, owner), []).append(item)
        services = dict(self.services.objects)
        whole = await self._balance(services)
        wanted = self._wanted(services, slices)
        for key in [key for key in self._listeners if key not in wanted]:
            self._listeners.pop(key).close()
        for key, (service, backends, tls) in wanted.items():
            listener = self._listeners.get(key)
            if listener is None or listener.tls is not tls:
                if listener:
                    listener.close()
                listener = self._listeners[key] = Listener(*key, tls)
            try:
                listener.set_backends(backends, cut=self._is_cut(service))
            except OSError as error:
                whole = False
                self._fail(service, "FailedToListen", f"{key[0]}:{key[1]}: {error.strerror}")
        self._write_hosts(hosts_lines(services.values(), slices, self._reach))
        for gone in set(self._aliases) - {service["spec"].get("clusterIP") for service in services.values()}:
            self._platform.addresses.release(self._aliases.pop(gone))
        return whole

    def _reach(self, address: str) -> str:
        """Where a cluster IP is listened on: an embedded control plane gives addresses of this sandbox's block, any
        other its own, and then it is another address of the block."""
        if address.startswith(f"{self._platform.addresses.network}."):
            return address
        if address not in self._aliases:
            self._aliases[address] = self._platform.addresses.take(Block.SERVICES)
        return self._aliases[address]

    def _wanted(
        self, services: Mapping[Name, Object], slices: Mapping[Name, list[Object]]
    ) -> dict[Backend, tuple[Object, tuple[Backend, ...], ssl.SSLContext | None]]:
        """(address, port) to listen on -> the service, where its connections go, and the TLS they come by."""
        wanted: dict[Backend, tuple[Object, tuple[Backend, ...], ssl.SSLContext | None]] = {}
        for name, service in services.items():
            cluster_ip = service["spec"].get("clusterIP")
            if cluster_ip and cluster_ip != "None":
                cluster_ip = self._reach(cluster_ip)
            balancer = self._balancers.get(name)
            listening = self._by_controller.known(service)
            for port in service["spec"].get("ports") or []:
                if port.get("protocol", "TCP") != "TCP" or name == ("default", "kubernetes"):
                    continue
                backends = backends_of(service, port, slices.get(name, []))
                if cluster_ip and cluster_ip != "None":
                    wanted[cluster_ip, port["port"]] = (service, backends, None)
                if balancer and listening is None:
                    wanted[balancer, port["port"]] = (service, backends, None)
                elif balancer and listening and port["port"] in listening:
                    wanted[balancer, port["port"]] = (service, backends, listening[port["port"]])
        return wanted

    # --- load balancers

    async def _balance(self, services: Mapping[Name, Object]) -> bool:
        """An address for every service of type LoadBalancer, none for others."""
        wanted, whole = set[Name](), True
        for name, service in services.items():
            if service["spec"].get("type") != "LoadBalancer" or service["metadata"].get("deletionTimestamp"):
                continue
            try:
                if await self._by_controller.is_made(service):
                    wanted.add(name)
            except UNREAD as error:
                whole = False
                self._fail(service, "SyncLoadBalancerFailed", f"Error reading load balancer: {error}")
        for name in [name for name in self._balancers if name not in wanted]:
            self._platform.addresses.release(self._balancers.pop(name))
        for name in wanted:
            whole = await self._ensure_balancer(name, services[name]) and whole
        return whole

    async def _ensure_balancer(self, name: Name, service: Object) -> bool:
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        current = ingress[0].get("ip") if ingress else None
        if name not in self._balancers:
            try:
                address = self._platform.addresses.take(Block.LOAD_BALANCERS, current)
            except AddressesExhausted as error:
                self._fail(service, "SyncLoadBalancerFailed", f"Error syncing load balancer: {error}")
                return False
            self._balancers[name] = address
            self._note(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        address = self._balancers[name]
        if current == address:
            return True
        client = self._platform.client
        path = client.path("v1", "services", name[0], name[1], "status")
        try:
            await client.patch(path, {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}})
        except ApiError as error:
            if error.code == 404:
                return True  # deleted meanwhile: the watch is about to say so
            log.warning("load balancer of %s/%s not written: %s", *name, error)
            return False
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("load balancer of %s/%s not written: %s", *name, error)
            return False
        self._note(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return True

    def _fail(self, service: Object, reason: str, message: str) -> None:
        log.warning("service %s: %s %s", service["metadata"]["name"], reason, message)
        self._note(service, "Warning", reason, message)

    def _note(self, service: Object, kind: str, reason: str, message: str) -> None:
        component = "service-controller" if "alancer" in reason else "kube-proxy"
        self._platform.record(
            {"kind": "Service", "apiVersion": "v1", **service}, kind, reason, message, component=component
        )

    def _write_hosts(self, lines: list[str]) -> None:
        if lines == self._hosts:
            return
        path = self._platform.hosts_file
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in lines))
        partial.replace(path)
        self._hosts = lines

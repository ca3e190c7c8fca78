"""One node: its kubelet's server, heartbeat and pod workers, from registration to removal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from slipway_sandbox.apiclient import STRATEGIC, ApiError, Object
from slipway_sandbox.nodes import node_objects
from slipway_sandbox.nodes.addresses import Block
from slipway_sandbox.nodes.eviction import evict, grace_of, of_daemon_set
from slipway_sandbox.nodes.kubelet.devices import GPU, DeviceManager
from slipway_sandbox.nodes.kubelet.images import ImageStore
from slipway_sandbox.nodes.kubelet.node import NodeContext
from slipway_sandbox.nodes.kubelet.pod import PodWorker
from slipway_sandbox.nodes.kubelet.server import KubeletServer
from slipway_sandbox.nodes.node_objects import NodeSpec
from slipway_sandbox.nodes.platform import Platform
from slipway_sandbox.nodes.timestamps import micro_timestamp, timestamp

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0  # the kubelet's lease renew interval
RETRY_SECONDS = 0.3
WRITE_SECONDS = 15.0  # how long a write about the node is tried before it counts as failed


class Machine:
    """`start` registers the node; `stop` ends what runs on it; `lose` and `recover` are a node that falls silent."""

    def __init__(self, platform: Platform, spec: NodeSpec) -> None:
        self.platform, self.spec = platform, spec
        self.lost = False
        self.leaving = False
        self.advertised_gpus = 0
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over: set[str] = set()  # pods that ended here, and that a finalizer keeps in the API
        self._server = KubeletServer(self._find)
        self._heart: asyncio.Task[None] | None = None
        self._accepting = False
        self._uid = ""
        address = platform.addresses.take(Block.KUBELETS)
        images = ImageStore(platform.faults, platform.settings.crash_backoff_seconds)
        devices = DeviceManager(spec.name, lambda: self.advertised_gpus)
        self.context = NodeContext(
            spec.name,
            address,
            spec.type,
            platform,
            images,
            devices,
            self.working_gpus,
        )

    @property
    def name(self) -> str:
        return self.spec.name

    def working_gpus(self) -> int:
        """How many GPUs the node's driver finds."""
        return 0 if self.platform.faults.is_on("gpu-missing", self.name) else self.spec.type.gpus

    # --- the node object

    async def start(self, pods: list[Object]) -> None:
        """Listen, register, then run those of `pods` that are bound here. Raises ApiError when it cannot register."""
        self.context.gpu_folder.mkdir(parents=True, exist_ok=True)
        port = await self._server.start(self.context.address)
        client = self.platform.client
        body = node_objects.node_object(
            self.spec, node_objects.node_status(self.spec, self.context.address, port, timestamp())
        )
        path = client.path("v1", "nodes")
        existing = await client.get(f"{path}/{self.name}")
        if existing is None:
            existing = await self._persist("POST", path, body)
        # A create ignores status on a real API server; an adopted node reports its new address.
        await self._persist("PATCH", f"{path}/{self.name}/status", {"status": body["status"]}, STRATEGIC)
        self._uid = existing["metadata"]["uid"]
        self._record("Normal", "NodeReady", f"Node {self.name} status is now: NodeReady")
        self._accepting = True
        for pod in pods:
            self.on_pod("ADDED", pod)
        self._heart = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Renew the lease and the conditions' heartbeat for ever."""
        client = self.platform.client
        leases = client.path("coordination.k8s.io/v1", "leases", "kube-node-lease")
        while True:
            now = micro_timestamp()
            try:
                lease = node_objects.lease_object(self.name, self._uid, now)
                if await client.get(f"{leases}/{self.name}") is None:
                    await client.create(leases, lease)
                else:
                    await client.patch(f"{leases}/{self.name}", {"spec": lease["spec"]})
                beat = [
                    {"type": c["type"], "lastHeartbeatTime": c["lastHeartbeatTime"]}
                    for c in node_objects.ready_conditions(timestamp())
                ]
                await self._status({"conditions": beat})
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("node %s: heartbeat not written: %s", self.name, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def advertise_gpus(self, count: int) -> None:
        """What the device plugin registered; zero stays visible as zero, as the kubelet leaves it."""
        self.advertised_gpus = count
        await self._status({"capacity": {GPU: str(count)}, "allocatable": {GPU: str(count)}})

    async def cordon(self, taint: Object | None = None) -> None:
        """Unschedulable, and with one more taint."""
        path = self.platform.client.path("v1", "nodes", None, self.name)
        body: Object = {"spec": {"unschedulable": True}}
        if taint:
            body["spec"]["taints"] = [taint]
        await self._persist("PATCH", path, body, STRATEGIC)

    async def mark(
        self,
        labels: Mapping[str, str],
        new_labels: Mapping[str, str],
        taints: Sequence[Mapping[str, str]],
        new_taints: Sequence[Mapping[str, str]],
    ) -> None:
        """Labels and taints of its group changed from these to those; others' are kept. Raises ApiError."""
        path = self.platform.client.path("v1", "nodes", None, self.name)
        node = await self.platform.client.get(path)
        if node is None:
            return
        changed = {key: new_labels.get(key) for key in {*labels, *new_labels}}
        gone = {(t["key"], t["effect"]) for t in (*taints, *new_taints)}
        kept = [t for t in node["spec"].get("taints") or [] if (t["key"], t["effect"]) not in gone]
        version = node["metadata"]["resourceVersion"]
        body = {
            "metadata": {"labels": changed, "resourceVersion": version},
            "spec": {"taints": [*kept, *map(dict, new_taints)]},
        }
        await self.platform.client.patch(path, body)

    async def _status(self, status: Object) -> None:
        path = self.platform.client.path("v1", "nodes", None, self.name, "status")
        await self.platform.client.patch(path, {"status": status}, STRATEGIC)

    async def _persist(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Any:
        """A write that is repeated through passing failures for WRITE_SECONDS. Raises ApiError, TimeoutError."""
        async with asyncio.timeout(WRITE_SECONDS):
            while True:
                try:
                    return await self.platform.client.request(method, path, body, content_type=content_type)
                except ApiError as error:
                    if error.code < 500 and error.code not in (409, 429):
                        raise
                except aiohttp.ClientError as error:
                    log.warning("node %s: %s %s: %s", self.name, method, path, error)
                await asyncio.sleep(RETRY_SECONDS)

    def _record(self, kind: str, why: str, message: str) -> None:
        involved = {"kind": "Node", "apiVersion": "v1", "name": self.name, "uid": self._uid}
        self.platform.events.record(involved, kind, why, message, component="kubelet", host=self.name)

    # --- pods

    def on_pod(self, kind: str, pod: Object) -> None:
        """News of a pod bound to this node."""
        uid = pod["metadata"]["uid"]
        if not self._accepting:
            return
        worker = self.workers.get(uid)
        if kind == "DELETED":
            self._over.discard(uid)
            if worker:
                worker.forget()
        elif uid in self._over:
            return
        elif worker:
            worker.update(pod)
        else:
            worker = self.workers[uid] = PodWorker(self.context, pod)
            task = self._tasks[uid] = asyncio.create_task(worker.run())
            task.add_done_callback(lambda done: self._worker_ended(uid, done))

    def _worker_ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self.workers.pop(uid)
        self._tasks.pop(uid)
        if task.cancelled():
            return
        if not worker.forgotten:
            self._over.add(uid)
        if error := task.exception():
            log.error("pod %s/%s: worker failed", worker.namespace, worker.name, exc_info=error)

    def _find(self, namespace: str, name: str) -> PodWorker | None:
        found = [w for w in self.workers.values() if (w.namespace, w.name) == (namespace, name)]
        return found[-1] if found else None  # the newest, when a namesake is still ending

    # --- the end

    async def drain(self, limit: float | None = None) -> None:
        """Evict every pod that no DaemonSet owns and wait for their end.

        Disruption budgets may hold an eviction up for `limit` seconds, the settings' where None; what they still hold then
        goes down with the node. Within a `limit` also the pods' graces must end.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + (self.platform.settings.drain_seconds if limit is None else limit)
        drained = [worker for worker in self.workers.values() if not of_daemon_set(worker.pod)]
        held = list(drained)
        while held and clock() < until:
            held = [
                w
                for w in held
                if w.uid in self.workers and not await self._evict(w, None if limit is None else until)
            ]
            if held:
                await asyncio.sleep(RETRY_SECONDS)
        for worker in held:
            log.warning("node %s goes with pod %s: its budget allows no eviction", self.name, worker.name)
        evicted = [worker for worker in drained if worker not in held]
        graces = [grace_of(worker.pod) for worker in evicted]
        left = max(graces, default=0.0) + 5 if limit is None else max(until - clock(), 0.0)
        waited = {task for w in evicted if (task := self._tasks.get(w.uid))}
        if waited:
            await asyncio.wait(waited, timeout=left)

    async def _evict(self, worker: PodWorker, until: float | None) -> bool:
        """Whether the pod is on its way out; its grace ends before `until` on the loop's clock."""
        shortened = None
        if until is not None:
            left = math.floor(until - asyncio.get_running_loop().time())
            shortened = max(1, left) if left < grace_of(worker.pod) else None
        try:
            return await evict(self.platform.client, worker.pod, shortened)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("node %s: pod %s not evicted: %s", self.name, worker.name, error)
            return False

    async def stop(self) -> None:
        """The instance ends: no more pods, no more answers. SIGTERM to what still runs, then by force."""
        self._accepting = False
        if self._heart:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
        await self._end_workers()
        await self._server.stop()
        self.platform.addresses.release(self.context.address)

    async def remove(self) -> None:
        """After `stop`: delete the node and what was left on it, as cloud and pod garbage collector do."""
        client = self.platform.client
        await client.delete(client.path("v1", "nodes", None, self.name))
        await client.delete(client.path("coordination.k8s.io/v1", "leases", "kube-node-lease", self.name))
        left = await client.list(client.path("v1", "pods"), fieldSelector=f"spec.nodeName={self.name}")
        for pod in left:
            path = client.path("v1", "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            await client.delete(path, gracePeriodSeconds=0)
        await asyncio.to_thread(shutil.rmtree, self.platform.folder / "nodes" / self.name, ignore_errors=True)

    async def _end_workers(self) -> None:
        for worker in self.workers.values():
            for container in worker.containers:
                container.kill()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- a silent node

    async def lose(self) -> None:
        """The machine dies without a word; its conditions say so at once instead of after 40 s without a lease.

        Taints and evictions follow from the conditions and are the controllers' work.
        """
        self.lost = True
        self._accepting = False
        if self._heart:
            self._heart.cancel()
        await self._end_workers()
        await self._server.stop()
        now = timestamp()
        await self.fall_silent(now)
        self._record("Normal", "NodeNotReady", f"Node {self.name} status is now: NodeNotReady")
        client = self.platform.client
        for pod in await client.list(client.path("v1", "pods"), fieldSelector=f"spec.nodeName={self.name}"):
            metadata = pod["metadata"]
            unready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
            await client.patch(
                client.path("v1", "pods", metadata["namespace"], metadata["name"], "status"),
                {"status": {"conditions": [unready]}},
                STRATEGIC,
            )

    async def fall_silent(self, now: str) -> None:
        """What the control plane finds out 40 s after the last heartbeat is written down now."""
        await self._status({"conditions": node_objects.unknown_conditions(now)})

    async def recover(self, pods: list[Object]) -> None:
        """The machine boots again under the same name: its pods' containers start anew."""
        self._server = KubeletServer(self._find)
        self.lost = False
        self.advertised_gpus = 0
        await self.start(pods)

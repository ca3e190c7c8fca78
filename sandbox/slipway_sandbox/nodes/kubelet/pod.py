"""One pod on this node, from being bound to its final deletion."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

import aiohttp

from slipway_sandbox.apiclient import STRATEGIC, ApiError, Object
from slipway_sandbox.nodes.addresses import Block
from slipway_sandbox.nodes.events import reference
from slipway_sandbox.nodes.kubelet.backoff import Backoff
from slipway_sandbox.nodes.kubelet.container import Container, Surroundings
from slipway_sandbox.nodes.kubelet.devices import AdmissionRefused
from slipway_sandbox.nodes.kubelet.environment import EnvironmentBuilder, decoded_data, service_links
from slipway_sandbox.nodes.kubelet.node import NodeContext
from slipway_sandbox.nodes.kubelet.place import defaults, fixed
from slipway_sandbox.nodes.kubelet.status import ContainerState, conditions, first_states, phase
from slipway_sandbox.nodes.kubelet.volumes import MountError, Volumes
from slipway_sandbox.nodes.timestamps import timestamp

log = logging.getLogger(__name__)

DEFAULT_GRACE = 30.0  # terminationGracePeriodSeconds where a pod does not say
WRITE_RETRY = 0.2
FINAL_ATTEMPTS = 50  # x WRITE_RETRY = 10 s for the last writes about a pod


class PodGone(Exception):
    """The API server no longer has this pod (or has a namesake)."""


class PodWorker:
    """`run` ends when nothing of the pod is left here. `update` and `forget` bring news; `abandon` is a node's sudden death."""

    def __init__(self, node: NodeContext, pod: Object) -> None:
        self.node, self.pod = node, pod
        self.uid: str = pod["metadata"]["uid"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.containers: list[Container] = []
        self._states: dict[str, list[ContainerState]] = {
            "init": first_states(pod, "initContainers", "initContainerStatuses"),
            "main": first_states(pod, "containers", "containerStatuses"),
        }
        self._started_at = (pod.get("status") or {}).get("startTime") or timestamp()
        self._final: Object = {}  # phase, reason and message the node itself decided
        self._conditions: list[Object] = list((pod.get("status") or {}).get("conditions") or [])
        self._address = ""
        self._volumes: Volumes | None = None
        self._sandbox_ready = False
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._gone = False
        self._written: Object = {}
        self._writing = asyncio.Lock()
        self._folder = node.platform.folder / "nodes" / node.name / "pods" / self.uid
        if pod["metadata"].get("deletionTimestamp"):
            self._ending.set()

    # --- news

    def update(self, pod: Object) -> None:
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._ending.set()

    def forget(self) -> None:
        """The object is gone from the API: end the processes, report nothing."""
        self._gone = True
        self._ending.set()

    @property
    def forgotten(self) -> bool:
        """The API has it no more, as far as is known."""
        return self._gone

    @property
    def running(self) -> bool:
        """Every container runs and is ready."""
        return bool(self._states["main"]) and all(c.running and c.ready for c in self._states["main"])

    # --- life

    async def run(self) -> None:
        writer = asyncio.create_task(self._write_changes())
        life = asyncio.create_task(self._live())
        ending = asyncio.create_task(self._ending.wait())
        try:
            deadline = self.pod["spec"].get("activeDeadlineSeconds")
            done, _ = await asyncio.wait({life, ending}, return_when="FIRST_COMPLETED", timeout=deadline)
            if not done:
                await self._exceeded_deadline()
            elif life in done:
                life.result()
                await self._volumes_back()
            await ending
            await self._stop_all()
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life
            writer.cancel()
            if not self._gone:
                self._settle()
                await self._delete_finally()
        finally:
            for task in (writer, life, ending):
                task.cancel()
            await asyncio.gather(writer, life, ending, return_exceptions=True)
            await self._volumes_back()
            self.node.devices.release(self.uid)
            self.node.platform.forget_credentials(self.uid)
            (self.node.gpu_folder / f"{self.uid}.json").unlink(missing_ok=True)
            if self._address:
                self.node.platform.addresses.release(self._address)

    async def _live(self) -> None:
        if (self.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._final = {"phase": self.pod["status"]["phase"]}
            return
        try:
            devices = self.node.devices.admit(self.pod)
        except AdmissionRefused as refused:
            self._final = {"phase": "Failed", "reason": refused.reason, "message": refused.message}
            self._record("Warning", refused.reason, refused.message)
            self._changed.set()
            return
        self._address = self.node.platform.addresses.take(Block.PODS)
        self._changed.set()
        platform = self.node.platform
        volumes = self._volumes = Volumes(
            platform.client, self.pod, folder=self._folder, attacher=platform.attacher
        )
        await self._set_up_volumes(volumes)
        self._sandbox_ready = True
        self._changed.set()
        around = await self._surroundings(devices, volumes)
        if not await self._run_inits(around):
            return
        await self._run_main(around)

    async def _set_up_volumes(self, volumes: Volumes) -> None:
        pauses = Backoff(self.node.platform.settings.crash_backoff_seconds / 2)
        while True:
            try:
                await volumes.set_up()
            except MountError as error:
                self._record("Warning", error.reason, error.message)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                self._record("Warning", "FailedMount", str(error))
            else:
                return
            await asyncio.sleep(pauses.pause())

    async def _run_inits(self, around: Surroundings) -> bool:
        """Init containers in order; False when the pod failed."""
        policy = "Never" if self.pod["spec"].get("restartPolicy") == "Never" else "OnFailure"
        for spec, state in zip(
            self.pod["spec"].get("initContainers") or [], self._states["init"], strict=True
        ):
            await self._container(spec, state, policy, around, init=True).run()
            if state.exit_code != 0:
                return False
            state.ready = True
            self._changed.set()
        return True

    async def _run_main(self, around: Surroundings) -> None:
        policy = self.pod["spec"].get("restartPolicy") or "Always"
        made = [
            self._container(spec, state, policy, around)
            for spec, state in zip(self.pod["spec"]["containers"], self._states["main"], strict=True)
        ]
        for state in self._states["main"]:
            if state.state.get("waiting", {}).get("reason") == "PodInitializing":
                state.state = {"waiting": {"reason": "ContainerCreating"}}
        async with asyncio.TaskGroup() as group:
            for container in made:
                group.create_task(container.run())

    # --- end

    @property
    def _grace(self) -> float:
        """Seconds the pod has to end, the shortest anyone asked for."""
        asked = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if asked is None:
            asked = self.pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE)
        return float(asked)

    async def _exceeded_deadline(self) -> None:
        message = "Pod was active on the node longer than the specified deadline"
        self._record("Warning", "DeadlineExceeded", message)
        self._final = {"reason": "DeadlineExceeded", "message": message}
        await self._stop_all()
        self._final["phase"] = "Failed"
        self._changed.set()

    async def _stop_all(self) -> None:
        grace = 1.0 if self._gone else self._grace
        deadline = asyncio.get_running_loop().time() + grace
        await asyncio.gather(*(container.stop(deadline) for container in self.containers))
        await asyncio.sleep(0)  # lets each container note how it ended

    def _settle(self) -> None:
        """A deleted pod whose containers have all ended is Succeeded or Failed, whatever its restart policy (1.27)."""
        codes = [state.exit_code for state in self._states["main"]]
        if "phase" not in self._final and all(code is not None for code in codes):
            self._final["phase"] = "Succeeded" if not any(codes) else "Failed"

    async def _volumes_back(self) -> None:
        if self._volumes is not None:
            await self._volumes.tear_down()

    async def _delete_finally(self) -> None:
        """Report how the containers ended, then remove the object, as only its node may."""
        path = self.node.platform.client.path("v1", "pods", self.namespace, self.name)
        for _ in range(FINAL_ATTEMPTS):
            try:
                await self._write()
                await self.node.platform.client.delete(
                    path, gracePeriodSeconds=0, preconditions={"uid": self.uid}
                )
            except PodGone:
                return
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.code == 409 and not await self._still_there():
                    return
                await asyncio.sleep(WRITE_RETRY)
            else:
                return
        log.error("pod %s/%s: its end could not be reported", self.namespace, self.name)

    # --- reporting

    def _record(self, kind: str, why: str, message: str, field_path: str = "") -> None:
        involved = reference({"kind": "Pod", "apiVersion": "v1", **self.pod}, field_path)
        self.node.platform.events.record(
            involved, kind, why, message, component="kubelet", host=self.node.name
        )

    def status(self) -> Object:
        """The status the kubelet now reports."""
        inits, mains = self._states["init"], self._states["main"]
        policy = self.pod["spec"].get("restartPolicy") or "Always"
        now = self._final.get("phase") or phase(policy, inits, mains)
        foreign = [
            c
            for c in (self.pod.get("status") or {}).get("conditions") or []
            if c["type"] not in {known["type"] for known in self._conditions}
        ]
        self._conditions = conditions(
            self.pod,
            [*self._conditions, *foreign],
            phase=now,
            sandbox_ready=self._sandbox_ready and now not in ("Succeeded", "Failed"),
            inits=inits,
            containers=mains,
            now=timestamp(),
        )
        status = {
            **self._final,
            "phase": now,
            "conditions": self._conditions,
            "startTime": self._started_at,
            "hostIP": self.node.address,
            "hostIPs": [{"ip": self.node.address}],
            "containerStatuses": [state.as_status() for state in mains],
        }
        if inits:
            status["initContainerStatuses"] = [state.as_status() for state in inits]
        if self._address and self._sandbox_ready:
            status |= {"podIP": self._address, "podIPs": [{"ip": self._address}]}
        return status

    async def _write_changes(self) -> None:
        """Writes after changes, one write at a time: whatever changed meanwhile goes into the next."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
            except PodGone:
                self.forget()
                return
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("status of pod %s/%s not written: %s", self.namespace, self.name, error)
                self._changed.set()
                await asyncio.sleep(WRITE_RETRY)

    async def _write(self) -> None:
        """Raises PodGone, ApiError, aiohttp.ClientError."""
        async with self._writing:
            status = self.status()
            if status == self._written:
                return
            path = self.node.platform.client.path("v1", "pods", self.namespace, self.name, "status")
            body = {"metadata": {"uid": self.uid}, "status": status}
            try:
                await self.node.platform.client.patch(path, body, STRATEGIC)
            except ApiError as error:
                if error.code == 404 or (error.code == 409 and not await self._still_there()):
                    raise PodGone from error
                raise
            self._written = status

    async def _still_there(self) -> bool:
        path = self.node.platform.client.path("v1", "pods", self.namespace, self.name)
        found = await self.node.platform.client.get(path)
        return found is not None and found["metadata"]["uid"] == self.uid

    # --- making

    def _container(
        self, spec: Object, state: ContainerState, policy: str, around: Surroundings, *, init: bool = False
    ) -> Container:
        field_path = f"spec.{'initContainers' if init else 'containers'}{{{spec['name']}}}"

        def record(kind: str, why: str, message: str) -> None:
            self._record(kind, why, message, field_path)

        container = Container(spec, state, policy, around.recording(record), self._grace)
        self.containers.append(container)
        return container

    async def _surroundings(self, devices: Mapping[str, str], volumes: Volumes) -> Surroundings:
        platform = self.node.platform
        self._folder.mkdir(parents=True, exist_ok=True)
        credentials = await platform.credentials(self.pod, self._folder)
        known = {"status.podIP": self._address, "status.hostIP": self.node.address}
        builder = EnvironmentBuilder(self.pod, self._read_data, known)

        async def variables(container: Object) -> dict[str, str]:
            links = {}
            if self.pod["spec"].get("enableServiceLinks", True):
                links = service_links(platform.services.objects.values(), self.namespace)
            return await builder.build(container, links)

        return Surroundings(
            address=self._address,
            folder=self._folder,
            shims=platform.settings.root / "images",
            images=self.node.images,
            guard=platform.guard,
            http=platform.http,
            crash_backoff=platform.settings.crash_backoff_seconds,
            memory_poll=platform.settings.memory_poll_seconds,
            pod_text=f"{self.name}_{self.namespace}({self.uid})",
            variables=variables,
            mounts=volumes.mounts,
            defaults=defaults(self.node, self.pod) | credentials,
            fixed=fixed(self.node, self.pod, self._address, devices),
            record=self._record,
            changed=self._changed.set,
            file_bytes=self._room_left(),
        )

    def _room_left(self) -> int | None:
        """The fault disk-full: a claim with that much left (bytes), as the longest file its pod may write."""
        for volume in self.pod["spec"].get("volumes") or ():
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim and (fault := self.node.platform.faults.hit("disk-full", target=claim)):
                return int(fault.value or 0)
        return None

    async def _read_data(self, kind: str, namespace: str, name: str) -> Mapping[str, str] | None:
        client = self.node.platform.client
        plural = {"ConfigMap": "configmaps", "Secret": "secrets"}[kind]
        item = await client.get(client.path("v1", plural, namespace, name))
        return None if item is None else decoded_data(kind, item)

"""kube-scheduler: pods without a node get one, through the binding subresource.

Not here: preemption by priority, scheduler profiles, dynamic resource allocation.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import aiohttp

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import World
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    NAMESPACES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Key,
    Object,
    annotations_of,
    condition_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    status_of,
    timestamp,
    uid_of,
    with_condition,
)
from slipway_sandbox.controllers.placement import Placed, decide_placement
from slipway_sandbox.controllers.pods import claim_names, is_terminal
from slipway_sandbox.controllers.snapshot import Requests, Snapshot, take_snapshot
from slipway_sandbox.controllers.volume_fit import VolumePlan
from slipway_sandbox.controllers.volumes import SELECTED_NODE, is_bound
from slipway_sandbox.controllers.writes import Note, Patch, Update

log = logging.getLogger(__name__)

NAME = "default-scheduler"
_NEEDS = (PODS, NODES, CLAIMS, VOLUMES, STORAGE_CLASSES, NAMESPACES)
_FIRST_BACKOFF = 0.05  # upstream 1 s to 10 s: here the cluster is small and a sandbox's user waits
_LAST_BACKOFF = 1.0


class _BindingFailed(Exception):
    """The pod could not be bound to the node chosen; it is scheduled anew."""


def is_pending(pod: Object) -> bool:
    """A pod for this scheduler to place."""
    spec = pod["spec"]
    ours = spec.get("schedulerName") in (None, "", NAME)
    return ours and not spec.get("nodeName") and not is_deleting(pod) and not is_terminal(pod)


class Scheduler:
    """One decision at a time over fresh copies; bindings run beside it, their pods assumed on their nodes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._active: set[Key] = set()
        self._parked: dict[Key, int] = {}  # unschedulable pods, and how often they were in a row
        self._assumed: dict[str, str] = {}
        self._requests = Requests()
        self._wake = asyncio.Event()
        self._tick = asyncio.Event()
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Never returns; end it by cancelling."""
        for store in [self._world.store(resource) for resource in _NEEDS]:
            await store.synced.wait()
        self._world.store(PODS).listen(self._pod_changed)
        self._world.store(NODES).listen(self._node_changed)
        for resource in (CLAIMS, VOLUMES, STORAGE_CLASSES):
            self._world.store(resource).listen(self._volume_changed)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._active:
                        self._schedule_next(group)
                        await asyncio.sleep(0)  # let arrived events in between two decisions
        finally:
            for timer in self._timers.values():
                timer.cancel()

    # --- what is to be scheduled

    def _activate(self, key: Key) -> None:
        self._active.add(key)
        self._wake.set()

    def _park(self, pod: Object) -> None:
        self._parked[key_of(pod)] = self._parked.get(key_of(pod), 0) + 1

    def _retry_parked(self) -> None:
        """Something changed that may help: every unschedulable pod is tried again, after its back-off."""
        loop = asyncio.get_running_loop()
        for key, attempts in self._parked.items():
            if key not in self._timers:
                delay = min(_FIRST_BACKOFF * 2.0 ** min(attempts - 1, 16), _LAST_BACKOFF)
                self._timers[key] = loop.call_later(delay, self._unpark, key)

    def _unpark(self, key: Key) -> None:
        self._timers.pop(key, None)
        if key in self._parked:
            self._activate(key)

    def _forget(self, pod: Object) -> None:
        key = key_of(pod)
        self._active.discard(key)
        self._parked.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._assumed.pop(uid_of(pod), None)

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        if after is None or not is_pending(after):
            gone = after or before
            assert gone is not None
            self._forget(gone)
            if after is None:
                self._requests.forget(gone)
            newly_placed = after is not None and (before is None or is_pending(before))
            freed = after is None or (is_terminal(after) and not (before and is_terminal(before)))
            if freed or newly_placed:
                self._retry_parked()
            return
        if before is None or _asked(before) != _asked(after):
            self._parked.pop(key_of(after), None)
            if uid_of(after) not in self._assumed:
                self._activate(key_of(after))

    def _node_changed(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._tick.set()  # a pod may be waiting for volumes there
        if before is None or after is None or _offered(before) != _offered(after):
            self._retry_parked()

    def _volume_changed(self, before: Object | None, after: Object | None) -> None:
        self._retry_parked()
        self._tick.set()

    # --- one decision

    def _schedule_next(self, group: asyncio.TaskGroup) -> None:
        pods = self._world.store(PODS)
        waiting = [pod for key in self._active if (pod := pods.get(*key)) is not None and is_pending(pod)]
        waiting = [pod for pod in waiting if uid_of(pod) not in self._assumed]
        if not waiting:
            self._active.clear()
            return
        pod = min(waiting, key=_turn)
        self._active.discard(key_of(pod))
        try:
            verdict = decide_placement(pod, self._snapshot())
        except (
            Exception
        ) as error:  # a pod that cannot be judged must not stop the others: logged, and retried
            log.exception("%s: %s/%s", NAME, *key_of(pod))
            self._park(pod)
            self._note(pod, "FailedScheduling", f"running scheduler: {error!r}")
            return
        if isinstance(verdict, Placed):
            self._assumed[uid_of(pod)] = verdict.node
            group.create_task(self._place(pod, verdict), name=f"bind {name_of(pod)}")
            return
        self._park(pod)
        self._note(pod, "FailedScheduling", verdict.message)
        group.create_task(self._say_unscheduled(pod, "Unschedulable", verdict.message))

    def _snapshot(self) -> Snapshot:
        store = self._world.store
        return take_snapshot(
            store(NODES),
            store(PODS),
            assumed=self._assumed,
            requests_of=self._requests,
            claims=store(CLAIMS),
            volumes=store(VOLUMES),
            classes=store(STORAGE_CLASSES),
            namespaces=store(NAMESPACES),
        )

    def _note(self, pod: Object, reason: str, message: str) -> None:
        placed = reason == "Scheduled"
        action = "Binding" if placed else "Scheduling"
        self._world.recorder.note(NAME, Note(pod, "Pod", reason, message, not placed, action))

    async def _say_unscheduled(self, pod: Object, reason: str, message: str) -> None:
        old = condition_of(pod, "PodScheduled")
        if old is not None and (old["status"], old.get("reason"), old.get("message")) == (
            "False",
            reason,
            message,
        ):
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(self._world.now()),
        }
        conditions = with_condition(status_of(pod).get("conditions") or [], condition)
        try:
            await self._world.write(
                NAME, Update(PODS, {**pod, "status": {**status_of(pod), "conditions": conditions}}, "status")
            )
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or changed: then it comes up again by itself
                log.warning("%s: condition of %s: %s", NAME, name_of(pod), error)
                self._retry_parked()
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("%s: condition of %s: %r", NAME, name_of(pod), error)
            self._retry_parked()

    # --- binding

    async def _place(self, pod: Object, placed: Placed) -> None:
        key = key_of(pod)
        try:
            await self._bind_volumes(pod, placed.node, placed.volumes)
            await self._bind(pod, placed.node)
        except (ApiError, aiohttp.ClientError, TimeoutError, _BindingFailed) as error:
            self._binding_failed(pod, placed.node, error)
        except Exception as error:  # as above: logged with its trace, and retried
            log.exception("%s: binding %s/%s", NAME, *key)
            self._binding_failed(pod, placed.node, error)
        else:
            self._parked.pop(key, None)
            self._note(pod, "Scheduled", f"Successfully assigned {key[0]}/{key[1]} to {placed.node}")

    def _binding_failed(self, pod: Object, node: str, error: Exception) -> None:
        self._assumed.pop(uid_of(pod), None)
        current = self._world.store(PODS).get(*key_of(pod))
        if current is None or uid_of(current) != uid_of(pod) or not is_pending(current):
            return
        log.warning("%s: binding %s/%s to %s: %s", NAME, *key_of(pod), node, error)
        if isinstance(error, _BindingFailed):
            self._note(pod, "FailedScheduling", str(error))
        self._park(pod)
        self._retry_parked()

    async def _bind(self, pod: Object, node: str) -> None:
        namespace, name = key_of(pod)
        client = self._world.client
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid_of(pod)},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await client.create(client.path("v1", "pods", namespace, name, "binding"), body)

    async def _bind_volumes(self, pod: Object, node: str, plan: VolumePlan) -> None:
        """Have the late claims bound for this node, and wait for it. Raises _BindingFailed."""
        for claim in plan.provision:
            if annotations_of(claim).get(SELECTED_NODE) != node:
                note = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._world.write(NAME, Patch(CLAIMS, claim, note))
        if plan.provision:
            await self._wait_for_claims(pod, node, {key_of(claim) for claim in plan.provision})

    async def _wait_for_claims(self, pod: Object, node: str, provisioned: set[Key]) -> None:
        claims = self._world.store(CLAIMS)
        namespace = pod["metadata"]["namespace"]
        deadline = self._world.now() + timedelta(seconds=self._world.timing.volume_binding)
        while True:
            current = self._world.store(PODS).get(*key_of(pod))
            if current is None or uid_of(current) != uid_of(pod) or not is_pending(current):
                raise _BindingFailed("the pod is gone")
            if self._world.store(NODES).get("", node) is None:
                raise _BindingFailed(
                    f'running PreBind plugin "VolumeBinding": binding volumes: failed to get node "{node}": '
                    f'node "{node}" not found'
                )
            found = [claims.get(namespace, name) for name in claim_names(pod)]
            if all(claim is not None and is_bound(claim) for claim in found):
                return
            for claim in found:
                if claim is None or (
                    key_of(claim) in provisioned
                    and not is_bound(claim)
                    and annotations_of(claim).get(SELECTED_NODE) != node
                ):
                    # The provisioner gives a node up by taking the annotation away.
                    raise _BindingFailed(
                        'running PreBind plugin "VolumeBinding": binding volumes: selectedNode annotation reset'
                    )
            left = (deadline - self._world.now()).total_seconds()
            if left <= 0:
                raise _BindingFailed(
                    'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
                )
            await self._claim_event(min(left, 1.0))

    async def _claim_event(self, seconds: float) -> None:
        self._tick.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._tick.wait()
        except TimeoutError:
            return  # looked at again all the same: the pod may have gone meanwhile


def _turn(pod: Object) -> tuple[int, str, Key]:
    return -int(pod["spec"].get("priority") or 0), pod["metadata"].get("creationTimestamp", ""), key_of(pod)


def _asked(pod: Object) -> tuple[object, ...]:
    return pod["spec"], labels_of(pod), uid_of(pod)


def _offered(node: Object) -> tuple[object, ...]:
    """What of a node matters to the scheduler; heartbeats are not in it."""
    return labels_of(node), node.get("spec"), status_of(node).get("allocatable")

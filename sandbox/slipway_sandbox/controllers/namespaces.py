"""The end of a namespace, and the service account every one begins with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.discovery import discover
from slipway_sandbox.controllers.objects import (
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Key,
    Object,
    Resource,
    is_deleting,
    name_of,
    status_of,
    timestamp,
    with_condition,
)
from slipway_sandbox.controllers.writes import Create, Decision, Delete, update_status

_VERBS = frozenset({"list", "delete"})
_LOOK_AGAIN_SECONDS = 0.1  # pods end by their kubelet: looked at again until they have


def decide_contents(
    namespace: Object, contents: Sequence[tuple[Resource, Object]], now: datetime
) -> Decision:
    """Delete what is not being deleted yet, tell what holds it, and look again while anything is left."""
    decision = Decision()
    for resource, item in contents:
        if not is_deleting(item):
            decision.writes.append(Delete(resource, item, {"propagationPolicy": "Background"}))
    conditions = list(status_of(namespace).get("conditions") or [])
    for condition in remaining(contents, now):
        conditions = with_condition(conditions, condition)
    status = {**status_of(namespace), "phase": "Terminating", "conditions": conditions}
    decision.writes += update_status(NAMESPACES, namespace, status)
    if contents:
        decision.again(_LOOK_AGAIN_SECONDS)
    return decision


def remaining(contents: Sequence[tuple[Resource, Object]], now: datetime) -> list[Object]:
    """The conditions of what is left, in Kubernetes' words (pkg/controller/namespace/deletion/status_condition_utils.go)."""
    groups = [f"{resource.plural}.{resource.api.rpartition('/')[0]}" for resource, _ in contents]
    finalizers = [name for _, item in contents for name in item["metadata"].get("finalizers") or ()]
    found = []
    for kind, reason, words, joint, counted in (
        ("NamespaceContentRemaining", "SomeResourcesRemain", "Some resources are remaining", "has", groups),
        (
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining",
            "in",
            finalizers,
        ),
    ):
        if not counted:
            continue
        told = ", ".join(
            f"{name} {joint} {counted.count(name)} resource instances" for name in sorted(set(counted))
        )
        found.append(
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": f"{words}: {told}",
                "lastTransitionTime": timestamp(now),
            }
        )
    return found


class NamespaceController(Controller):
    component = "namespace-controller"
    needs = (NAMESPACES,)

    def wire(self) -> None:
        self.watch_own(NAMESPACES)

    async def reconcile(self, key: Key) -> None:
        namespace = self.world.store(NAMESPACES).get(*key)
        if namespace is None or not is_deleting(namespace):
            return
        if "kubernetes" not in (namespace["spec"].get("finalizers") or []):
            return
        contents = await self._contents(name_of(namespace))
        await self.act(key, decide_contents(namespace, contents, self.world.now()))
        if contents:
            return
        left = [name for name in namespace["spec"]["finalizers"] if name != "kubernetes"]
        current = self.world.store(NAMESPACES).get(*key) or namespace
        body = {**current, "spec": {**current["spec"], "finalizers": left}}
        client = self.world.client
        await client.replace(client.path("v1", "namespaces", None, key[1], "finalize"), body)

    async def _contents(self, namespace: str) -> list[tuple[Resource, Object]]:
        """Everything in it, asked of the server itself: what is missed here would be orphaned for good."""
        client = self.world.client
        contents: list[tuple[Resource, Object]] = []
        for resource in await discover(client, _VERBS):
            if not resource.namespaced:
                continue
            try:
                items = await client.list(client.path(resource.api, resource.plural, namespace))
            except ApiError as error:
                if error.code not in (404, 405):  # gone since it was discovered, or not to be listed
                    raise
                continue
            contents += [(resource, item) for item in items]
        return contents


class ServiceAccountController(Controller):
    component = "service-account-controller"
    needs = (NAMESPACES, SERVICE_ACCOUNTS)

    def wire(self) -> None:
        self.watch(NAMESPACES, lambda namespace: [("", name_of(namespace))])
        self.watch(SERVICE_ACCOUNTS, lambda account: [("", account["metadata"]["namespace"])])

    async def reconcile(self, key: Key) -> None:
        namespace = self.world.store(NAMESPACES).get(*key)
        if namespace is None or is_deleting(namespace):
            return
        if self.world.store(SERVICE_ACCOUNTS).get(key[1], "default") is None:
            account = {"metadata": {"name": "default", "namespace": key[1]}}
            await self.act(key, Decision([Create(SERVICE_ACCOUNTS, account)]))

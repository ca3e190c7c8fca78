"""Deleting: grace for pods, finalizers, propagation policies, namespaces that empty first."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from slipway_sandbox.kubernetes import errors, managed, names
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.listing import not_a_number
from slipway_sandbox.kubernetes.objects import Objects, finished
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, Stored

_POLICIES = ("Foreground", "Background", "Orphan")
_GRACEFUL = ("pods", "namespaces")  # kinds whose deletion shows in the object although no finalizer holds it
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
# Kinds whose DELETE answers with the object rather than a Status (ReturnDeletedObject in their storage).
RETURNED = frozenset(
    {
        "pods",
        "services",
        "serviceaccounts",
        "persistentvolumes",
        "persistentvolumeclaims",
        "storageclasses.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csidrivers.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)


@dataclass(frozen=True)
class DeleteOptions:
    """A DeleteOptions body together with the same options from the query, which win. Grace in seconds."""

    grace: int | None = None
    policy: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False

    @classmethod
    def parse(cls, body: Any, query: Any) -> DeleteOptions:
        """Raises ApiStatus 400 or 422."""
        body = body if isinstance(body, dict) else {}
        grace = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
        policy = query.get("propagationPolicy") or body.get("propagationPolicy")
        if policy is not None and policy not in _POLICIES:
            allowed = (*_POLICIES, "nil")
            raise errors.invalid_options(
                "DeleteOptions", names.unsupported("propagationPolicy", policy, allowed)
            )
        before = body.get("preconditions") or {}
        dry_run = query.get("dryRun") or (body.get("dryRun") or [""])[0]
        try:
            seconds = None if grace is None else int(grace)
        except ValueError:
            raise not_a_number(str(grace)) from None
        return cls(seconds, policy, before.get("uid"), before.get("resourceVersion"), dry_run == "All")


class Deleter:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def delete(
        self, resource: Resource, namespace: str | None, name: str, options: DeleteOptions, write: Write
    ) -> tuple[Stored, bool]:
        """Start or finish a deletion: the last state, and whether the object is gone now.

        Raises ApiStatus 403 (a namespace that must stay), 404, or 409 for a failed precondition.
        """
        stored = self._objects.get(resource, namespace, name)
        self._check_preconditions(resource, stored, options)
        if resource.key == ("", "namespaces") and name in _IMMORTAL:
            raise errors.forbidden(resource, name, "this namespace may not be deleted")
        marked = self._mark(resource, stored.object, options, write)
        done = finished(resource, marked) or "deletionTimestamp" not in marked["metadata"]
        if options.dry_run or write.dry_run:
            return Stored(marked), done
        if done and resource.key == ("", "pods") and "deletionTimestamp" not in stored.metadata:
            self._objects.store.put(resource.key, marked)  # watchers see it marked, then gone
        if done:
            return self._objects.store.remove(resource.key, marked), True
        if marked != stored.object:
            stored = self._objects.store.put(resource.key, marked)
        return stored, False

    def _check_preconditions(self, resource: Resource, stored: Stored, options: DeleteOptions) -> None:
        for field, wanted in (("uid", options.uid), ("resourceVersion", options.resource_version)):
            if wanted and wanted != stored.metadata[field]:
                why = f"the {field} in the precondition ({wanted}) is not that of the object ({stored.metadata[field]})"
                raise errors.conflict(resource, stored.metadata["name"], why)

    def _mark(self, resource: Resource, object_: Object, options: DeleteOptions, write: Write) -> Object:
        """The object with its deletion written into it."""
        metadata = dict(object_["metadata"])
        finalizers = self._finalizers(resource, metadata.get("finalizers") or [], options)
        metadata.pop("finalizers", None)
        if finalizers:
            metadata["finalizers"] = finalizers
        elif resource.plural not in _GRACEFUL:
            return object_ | {"metadata": metadata}  # gone at once: nobody sees it marked
        grace = _grace(resource, object_, options)
        before = metadata.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in metadata or (grace is not None and before and grace < before):
            ends = self._objects.now() + dt.timedelta(seconds=grace or 0)
            metadata["deletionTimestamp"] = managed.timestamp(ends)
            # Zero is what finalizers show on any kind; only a pod counts down from more.
            if resource.key != ("", "namespaces"):
                metadata["deletionGracePeriodSeconds"] = grace or 0
            if resource.has_generation and "generation" in metadata:
                metadata["generation"] += 1
        marked = object_ | {"metadata": metadata}
        if resource.key == ("", "namespaces"):
            marked["status"] = object_.get("status", {}) | {"phase": "Terminating"}
        return marked

    def _finalizers(self, resource: Resource, finalizers: list[str], options: DeleteOptions) -> list[str]:
        policy = options.policy
        if policy is None and resource.key == ("batch", "jobs"):
            policy = "Orphan"  # batch/v1 keeps the behaviour of its first days
        wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy or "")
        if policy is None:
            return finalizers
        kept = [f for f in finalizers if f not in ("foregroundDeletion", "orphan")]
        return [*kept, wanted] if wanted and resource.key != ("", "namespaces") else kept


def _grace(resource: Resource, object_: Object, options: DeleteOptions) -> int | None:
    """Seconds a pod on a node keeps running; None for what knows no grace."""
    if resource.key != ("", "pods"):
        return None
    if not object_["spec"].get("nodeName") or object_.get("status", {}).get("phase") in (
        "Succeeded",
        "Failed",
    ):
        return 0
    if options.grace is not None:
        return max(options.grace, 0) if options.grace >= 0 else 1
    return int(object_["spec"].get("terminationGracePeriodSeconds", 30))

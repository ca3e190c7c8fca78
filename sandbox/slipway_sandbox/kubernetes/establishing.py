"""CustomResourceDefinitions at work: served once created, and gone with all their objects when deleted."""

from __future__ import annotations

from slipway_sandbox.kubernetes import custom, managed
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.deletion import DeleteOptions, Deleter
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.resources import Key, Resource
from slipway_sandbox.kubernetes.store import Event, Object

_DEFINITIONS: Key = ("apiextensions.k8s.io", "customresourcedefinitions")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class Establisher:
    """Follows the store's writes; register it with `Store.after_write`."""

    def __init__(self, objects: Objects, deleter: Deleter) -> None:
        self._objects, self._deleter = objects, deleter

    def after_write(self, key: Key, event: Event) -> None:
        if key == _DEFINITIONS:
            self._definition_changed(event)
        elif event.type == "DELETED":
            self._release(key)

    def _definition_changed(self, event: Event) -> None:
        definition = event.after.object
        served = (definition["spec"]["group"], definition["spec"]["names"]["plural"])
        if event.type == "DELETED":
            self._objects.registry.remove(served)
        elif definition["metadata"].get("deletionTimestamp"):
            if event.before and not event.before.metadata.get("deletionTimestamp"):
                self._clean_up(served)
        elif event.before is None or event.before.object["spec"] != definition["spec"]:
            self._objects.registry.remove(served)
            for resource in custom.served_resources(definition):
                self._objects.registry.add(resource)
            self._establish(definition)

    def _establish(self, definition: Object) -> None:
        now = managed.timestamp(self._objects.now())
        spec = definition["spec"]
        storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
        versions = definition.get("status", {}).get("storedVersions") or []
        conditions = [
            {
                "type": kind,
                "status": "True",
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            }
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ]
        status = {
            "conditions": definition.get("status", {}).get("conditions") or conditions,
            "acceptedNames": spec["names"],
            "storedVersions": versions if storage in versions else [*versions, storage],
        }
        metadata = definition["metadata"]
        finalizers = [*(f for f in metadata.get("finalizers") or [] if f != CLEANUP), CLEANUP]
        self._objects.store.put(
            _DEFINITIONS, definition | {"status": status, "metadata": metadata | {"finalizers": finalizers}}
        )

    def _clean_up(self, served: Key) -> None:
        """Delete every object of the kind; the definition goes with the last of them."""
        resource = self._find(served)
        if resource is not None:
            write = Write("kube-apiserver")
            for stored in self._objects.store.all(served):
                namespace = stored.metadata.get("namespace")
                self._deleter.delete(resource, namespace, stored.metadata["name"], DeleteOptions(), write)
        self._release(served)

    def _release(self, served: Key) -> None:
        """Take the definition's own finalizer off once nothing of its kind is left."""
        for stored in self._objects.store.all(_DEFINITIONS):
            spec, metadata = stored.object["spec"], stored.metadata
            if (spec["group"], spec["names"]["plural"]) != served or not metadata.get("deletionTimestamp"):
                continue
            if CLEANUP in (metadata.get("finalizers") or []) and not any(self._objects.store.all(served)):
                finalizers = [f for f in metadata["finalizers"] if f != CLEANUP]
                freed = stored.object | {"metadata": metadata | {"finalizers": finalizers}}
                definitions = self._objects.registry.of_key(_DEFINITIONS)
                self._objects.settle(definitions, freed)

    def _find(self, served: Key) -> Resource | None:
        return next((r for r in self._objects.registry if (r.group, r.plural) == served), None)

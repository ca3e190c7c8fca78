"""Creating, updating and applying objects: what a generic registry of kube-apiserver does around a kind's own rules."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable

from slipway_sandbox.kubernetes import (
    admission,
    apply,
    cel_rules,
    custom,
    custom_validation,
    defaults,
    errors,
    managed,
    rules,
    schema,
)
from slipway_sandbox.kubernetes.bodies import Write, decode, untyped
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.managed import Entry, Owner
from slipway_sandbox.kubernetes.resources import Registry, Resource
from slipway_sandbox.kubernetes.store import Object, Store, Stored, copy_json

_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
# Set by the server when an object is made, and kept through every update.
_KEPT = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
# Kinds whose status update may also change labels and annotations (their strategy resets the spec alone).
_STATUS_WITH_LABELS = frozenset({"nodes", "pods", "services", "persistentvolumeclaims", "persistentvolumes"})
_KEEPS_STATUS = frozenset({"nodes"})  # the kubelet registers its node with a status


class Objects:
    """Every write to the store goes through here. `now` is the clock, `chance` picks generated names."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        admit: admission.Admission,
        *,
        now: Callable[[], dt.datetime],
        chance: random.Random,
    ) -> None:
        self.store, self.registry, self.admit = store, registry, admit
        self.now, self._chance = now, chance

    def get(self, resource: Resource, namespace: str | None, name: str) -> Stored:
        """Raises ApiStatus 404."""
        stored = self.store.get(resource.key, namespace, name)
        if stored is None:
            raise errors.not_found(resource, name)
        return stored

    # ------------------------------------------------------------------------------------------ create

    def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Object,
        write: Write,
        owners: dict[Owner, Entry] | None = None,
    ) -> Stored:
        """Store a new object. Raises ApiStatus 400, 403, 404, 409 or 422.

        `owners` are its field managers where it was made by an apply; else the caller owns all it sent.
        """
        object_ = decode(resource, body, write)
        metadata = object_["metadata"]
        self._check_namespace(resource, namespace, metadata)
        # Who refuses it before it is stored knows it by the name it came with: events about that stay alike.
        asked = metadata.get("name") or metadata.get("generateName", "")
        self._set_name(resource, metadata)
        for key in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ):
            metadata.pop(key, None)
        metadata.pop("generation", None)
        if metadata.pop("resourceVersion", ""):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        self._require_namespace(resource, namespace, asked)
        if self.store.get(resource.key, namespace, metadata["name"]) is not None:
            raise errors.already_exists(resource, metadata["name"])
        metadata["uid"] = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        metadata["creationTimestamp"] = managed.timestamp(self.now())
        if resource.has_generation:
            metadata["generation"] = 1
        if "status" in resource.subresources and resource.plural not in _KEEPS_STATUS:
            object_.pop("status", None)
            if not resource.custom:
                object_["status"] = schema.empty_status(resource)
        self._complete(resource, object_)
        self.admit.create(resource, object_, asked)
        self._check(resource, object_, None, write.missing)
        if owners is None:
            self._own(resource, object_, None, write, "")
        else:
            managed.keep(metadata, owners)
        if write.dry_run:
            return Stored(object_)
        return self.store.put(resource.key, object_)

    def _set_name(self, resource: Resource, metadata: Object) -> None:
        if metadata.get("name"):
            return
        prefix = metadata.get("generateName")
        if not prefix:
            cause = Cause(
                "metadata.name", "Required value: name or generateName is required", "FieldValueRequired"
            )
            raise errors.invalid(resource, "", [cause])
        metadata["name"] = prefix[:58] + "".join(self._chance.choices(_NAME_ALPHABET, k=5))

    def _check_namespace(self, resource: Resource, namespace: str | None, metadata: Object) -> None:
        if not resource.namespaced:
            metadata.pop("namespace", None)
        elif metadata.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _require_namespace(self, resource: Resource, namespace: str | None, name: str) -> None:
        if not resource.namespaced or namespace is None:
            return
        namespaces = self.registry.core("namespaces")
        home = self.get(namespaces, None, namespace)
        if home.metadata.get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause(
                "metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating"
            )
            raise errors.forbidden(resource, name, why, cause)

    # ------------------------------------------------------------------------------------------ update

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Object,
        write: Write,
        *,
        subresource: str = "",
        owners: dict[Owner, Entry] | None = None,
    ) -> Stored:
        """Replace an object, or with `subresource` its status alone (`finalize`: a namespace's finalizers).

        A write that changes nothing keeps the resourceVersion. `owners` come from an apply.
        Raises ApiStatus 400, 404, 409 or 422.
        """
        old = self.get(resource, namespace, name)
        new = decode(resource, body, write)
        self._check_identity(resource, name, namespace, old, new["metadata"])
        new = self._confine(resource, old.object, new, subresource)
        metadata = new["metadata"]
        for key in _KEPT:
            metadata.pop(key, None)
            if key in old.metadata:
                metadata[key] = old.metadata[key]
        metadata["resourceVersion"] = old.metadata["resourceVersion"]
        if not subresource:
            self._complete(resource, new)
            self.admit.update(resource, new, old.object)
        self._check(resource, new, old.object, write.missing, subresource)
        if owners is None:
            self._own(resource, new, old.object, write, subresource)
        else:
            managed.keep(metadata, owners)
        if new == old.object:
            return old
        if resource.has_generation and subresource != "status" and _changed(resource, new, old.object):
            metadata["generation"] = old.metadata.get("generation", 0) + 1
        if write.dry_run:
            return Stored(new)
        return self.settle(resource, new)

    def settle(self, resource: Resource, object_: Object) -> Stored:
        """Store a changed object, or take it out when it was only waiting for its last finalizer."""
        if finished(resource, object_):
            return self.store.remove(resource.key, object_)
        return self.store.put(resource.key, object_)

    def _check_identity(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        old: Stored,
        metadata: Object,
    ) -> None:
        if not metadata.get("name"):
            raise errors.bad_request(
                f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )
        if metadata["name"] != name:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        self._check_namespace(resource, namespace, metadata)
        version = metadata.get("resourceVersion") or ""
        if version == "0":
            version = ""
        if version and version != old.metadata["resourceVersion"]:
            raise errors.modified(resource, name)
        uid = metadata.get("uid")
        if uid and uid != old.metadata["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.metadata['uid']}"
            )
            raise errors.conflict(resource, name, why)

    def _confine(self, resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """The old object with only that part of the new one that this endpoint may change."""
        if subresource == "status":
            confined = old | {"status": new.get("status", {}), "metadata": dict(old["metadata"])}
            if resource.plural in _STATUS_WITH_LABELS and not resource.custom:
                for key in ("labels", "annotations"):
                    confined["metadata"].pop(key, None)
                    if key in new["metadata"]:
                        confined["metadata"][key] = new["metadata"][key]
            return confined
        if subresource == "finalize":
            finalizers = (new.get("spec") or {}).get("finalizers", [])
            spec = {"finalizers": finalizers} if finalizers else {}
            return old | {"spec": spec, "metadata": dict(old["metadata"])}
        if "status" in resource.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = copy_json(old["status"])
        if resource.key == ("", "namespaces"):
            new["spec"] = old.get("spec", {})
        return new

    # ------------------------------------------------------------------------------------------ apply

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        intent: Object,
        write: Write,
        subresource: str = "",
    ) -> tuple[Stored, bool]:
        """Server-side apply; the stored object and whether it was created. Raises ApiStatus 409 for conflicts."""
        version = intent.get("apiVersion") or ""
        if version != resource.api_version:
            raise errors.bad_request(
                "Incorrect version specified in apply patch. "
                f"Specified patch version: {version}, expected: {resource.api_version}"
            )
        if intent.get("kind") != resource.kind:
            raise errors.bad_request(f"invalid object type: {version}, Kind={intent.get('kind', '')}")
        metadata = intent.get("metadata")
        metadata = intent["metadata"] = dict(metadata) if isinstance(metadata, dict) else {}
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        if metadata.setdefault("name", name) != name:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        self._check_namespace(resource, namespace, metadata)
        try:
            intent = decode(resource, intent, write, whole=False)
        except errors.Undecodable as wrong:
            raise untyped(resource, metadata, wrong.why) from None
        if subresource == "status":
            intent.pop("spec", None)
        elif "status" in resource.subresources:
            intent.pop("status", None)
        live = self.store.get(resource.key, namespace, name)
        if live is None and subresource:
            raise errors.not_found(resource, name)
        owner = (write.manager, "Apply", subresource)
        version = intent["metadata"].pop("resourceVersion", None)
        merged, owners = apply.apply(
            live.object if live else None, intent, resource.schema, owner, force=write.force, now=self.now()
        )
        if live is None:
            return self.create(resource, namespace, merged, write, owners), True
        if version is not None:
            merged = merged | {"metadata": merged["metadata"] | {"resourceVersion": version}}
        stored = self.update(
            resource,
            namespace,
            name,
            merged,
            write,
            subresource=subresource,
            owners=owners,
        )
        return stored, False

    # ------------------------------------------------------------------------------------------ shared

    def _complete(self, resource: Resource, object_: Object) -> None:
        if not resource.custom:
            defaults.apply_defaults(resource.key, object_)
            return
        completed = custom.default(object_, resource.schema)
        object_.clear()
        object_.update(completed)

    def _check(
        self,
        resource: Resource,
        new: Object,
        old: Object | None,
        missing: list[Cause],
        subresource: str = "",
    ) -> None:
        name = new["metadata"]["name"]
        causes = rules.metadata(resource, new, old)
        if resource.custom:
            causes += custom_validation.validate(new, resource.schema)
            causes += [] if causes else cel_rules.broken(new, old, resource.schema)
        elif not subresource:
            causes += rules.object_rules(resource, new, old)
            if resource.key not in rules.COMPLETE:
                named = {cause.field for cause in causes}
                causes += [cause for cause in missing if cause.field not in named]
        if causes:
            raise errors.invalid(resource, name, causes)

    def _own(
        self, resource: Resource, new: Object, old: Object | None, write: Write, subresource: str
    ) -> None:
        """Whoever writes a field owns it. A caller may rewrite `managedFields` too, but not through a subresource."""
        given = new["metadata"].get("managedFields")
        source = old if subresource or not given else new
        owners = managed.load(source) if source else {}
        if (
            not subresource and "status" in resource.subresources
        ):  # what the endpoint resets is not the caller's
            new_part, old_part = _without_status(new), _without_status(old or {})
        else:
            new_part, old_part = new, old or {}
        before = managed.leaves(old_part, resource.schema, parents=True)
        after = managed.leaves(new_part, resource.schema, parents=True)
        owner = (write.manager, "Update", subresource)
        owners = managed.take_over(owners, before, after, owner, resource.api_version, self.now())
        managed.keep(new["metadata"], owners)


def finished(resource: Resource, object_: Object) -> bool:
    """Nothing holds a deleted object any more: no finalizers, and a pod's grace is over."""
    metadata = object_["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.key == ("", "namespaces"):
        return not (object_.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def _without_status(object_: Object) -> Object:
    return {key: value for key, value in object_.items() if key != "status"}


def _changed(resource: Resource, new: Object, old: Object) -> bool:
    """Whether a write asks for something else: a status counts only where it has no endpoint of its own."""
    own_status = not resource.custom or "status" in resource.subresources
    aside = {"metadata", "status"} if own_status else {"metadata"}
    return any(new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - aside)

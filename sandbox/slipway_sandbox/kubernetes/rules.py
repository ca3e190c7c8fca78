"""Validation beyond types, kind by kind.

Source: k8s.io/kubernetes/pkg/apis/*/validation (1.32), the rules a deployer runs into.
"""

from __future__ import annotations

from collections.abc import Callable

from slipway_sandbox.kubernetes import core_rules, definition_rules, names, pod_rules, workload_rules
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Key, Resource
from slipway_sandbox.kubernetes.store import Object

Rule = Callable[[Object, Object | None], list[Cause]]


def metadata(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    """Name, labels, annotations, finalizers: of every kind."""
    meta = new["metadata"]
    causes: list[Cause] = []
    if old is None:
        if prefix := meta.get("generateName"):
            plain = prefix[:-1] + "a" if prefix.endswith("-") and len(prefix) > 1 else prefix
            causes += [
                names.bad("metadata.generateName", prefix, c.message.partition(": ")[2].partition(": ")[2])
                for c in _name(resource, plain)
            ]
        causes += _name(resource, meta["name"])
    causes += names.labels("metadata.labels", meta.get("labels") or {})
    causes += names.annotation_sizes("metadata.annotations", meta.get("annotations") or {})
    if old is not None and old["metadata"].get("deletionTimestamp"):
        added = set(meta.get("finalizers") or []) - set(old["metadata"].get("finalizers") or [])
        if added:
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
            causes.append(names.forbidden("metadata.finalizers", why))
    if not resource.custom and resource.group != "apiextensions.k8s.io":
        causes += _finalizers(meta.get("finalizers") or [])
    for owner in meta.get("ownerReferences") or []:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(names.bad(f"metadata.ownerReferences.{field}", "", "must not be empty"))
    return causes


def _finalizers(finalizers: list[str]) -> list[Cause]:
    why = "name is neither a standard finalizer name nor is it fully qualified"
    standard = ("kubernetes", "orphan", "foregroundDeletion")
    causes = [
        names.bad(f"metadata.finalizers[{index}]", name, why)
        for index, name in enumerate(finalizers)
        if "/" not in name and name not in standard
    ]
    return causes + [c for name in finalizers for c in names.qualified_name("metadata.finalizers", name)]


def _name(resource: Resource, name: str) -> list[Cause]:
    if resource.group == "rbac.authorization.k8s.io":  # path segments: system:… is fine
        wrong = name in (".", "..") or "/" in name or "%" in name
        return [names.bad("metadata.name", name, "may not contain '/' or '%'")] if wrong else []
    if resource.key == ("", "namespaces"):
        return names.label("metadata.name", name)
    if resource.key == ("apps", "statefulsets"):  # its pods are called after it
        return names.label("metadata.name", name)
    if resource.key == ("", "services"):
        return names.label_1035("metadata.name", name)
    return names.subdomain("metadata.name", name)


def object_rules(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    """A built-in kind's own rules; `old` is None for a creation."""
    rule = _RULES.get(resource.key)
    return rule(new, old) if rule is not None else []


def _pod(new: Object, old: Object | None) -> list[Cause]:
    if old is not None:
        return pod_rules.pod_update(new["spec"], old["spec"])
    return pod_rules.pod_spec(new["spec"], "spec")


# Kinds whose rules name every field that must be there.
COMPLETE = frozenset({("apiextensions.k8s.io", "customresourcedefinitions")})
_RULES: dict[Key, Rule] = {
    ("", "pods"): _pod,
    ("", "services"): core_rules.service,
    ("", "configmaps"): core_rules.configuration,
    ("", "secrets"): core_rules.configuration,
    ("", "persistentvolumeclaims"): core_rules.claim,
    ("apps", "deployments"): workload_rules.deployment,
    ("apps", "replicasets"): workload_rules.replica_set,
    ("apps", "statefulsets"): workload_rules.stateful_set,
    ("apps", "daemonsets"): workload_rules.daemon_set,
    ("batch", "jobs"): workload_rules.job,
    ("storage.k8s.io", "storageclasses"): core_rules.storage_class,
    ("policy", "poddisruptionbudgets"): core_rules.budget,
    ("networking.k8s.io", "networkpolicies"): core_rules.network_policy,
    ("apiextensions.k8s.io", "customresourcedefinitions"): definition_rules.definition,
}

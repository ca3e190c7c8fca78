"""Discovery documents: /api, /apis, a group, a version; /version."""

from __future__ import annotations

import re
from typing import Any

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.definitions import VERSION
from slipway_sandbox.kubernetes.resources import Registry, Resource

Document = dict[str, Any]

# Subresources that speak another kind than their parent: (group, version, kind).
_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
}
_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "finalize": ["update"],
    "log": ["get"],
    "eviction": ["create"],
    "binding": ["create"],
    "proxy": ["create", "delete", "get", "patch", "update"],
}


def version() -> Document:
    major, minor = VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{VERSION}.0",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2024-12-11T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def core_versions(address: str) -> Document:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(registry: Registry) -> Document:
    names = dict.fromkeys(group for group, _ in registry.group_versions() if group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(registry, name) for name in names]}


def group(registry: Registry, name: str) -> Document:
    """Raises ApiStatus 404 for a group nobody serves."""
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(registry, name)


def _group(registry: Registry, name: str) -> Document:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for group_, version in sorted(registry.group_versions(), key=lambda gv: _priority(gv[1]))
        if group_ == name
    ]
    if not versions:
        raise errors.no_such_group()
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _priority(version: str) -> tuple[int, int, str]:
    """v2 before v1 before v1beta1 before v1alpha1."""
    stage = 2 if "alpha" in version else 1 if "beta" in version else 0
    digits = "".join(c if c.isdigit() else " " for c in version).split()
    return stage, -int(digits[0]) if digits else 0, version


def resources(registry: Registry, group_: str, version_: str) -> Document:
    """Raises ApiStatus 404 for a version nobody serves."""
    found = [r for r in registry if (r.group, r.version) == (group_, version_)]
    if not found:
        raise errors.no_such_path() if registry.builds_in(group_) else errors.no_such_group()
    entries: list[Document] = []
    for resource in sorted(found, key=lambda r: r.plural):
        entries.append(_entry(resource))
        entries.extend(_subresource(resource, name) for name in sorted(resource.subresources))
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": entries,
    }


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_AGGREGATE = re.compile(
    r"application/json;(?=[^,]*g=apidiscovery\.k8s\.io)(?=[^,]*v=v2(;|,|$))(?=[^,]*as=APIGroupDiscoveryList)"
)


def wants_aggregated(accept: str) -> bool:
    """Whether the client asks for every group in one document, before it asks for plain JSON."""
    return _AGGREGATE.match(accept.replace(" ", "")) is not None


def aggregated(registry: Registry, *, core: bool) -> Document:
    """/api (the core group) or /apis (all others) with all their resources (KEP-3352)."""
    names = dict.fromkeys(group for group, _ in registry.group_versions() if (group == "") is core)
    items = []
    for name in names:
        versions = [version for group_, version in registry.group_versions() if group_ == name]
        shown = [_discovered(registry, name, version) for version in sorted(versions, key=_priority)]
        items.append({"metadata": {"name": name} if name else {}, "versions": shown})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _discovered(registry: Registry, group_: str, version_: str) -> Document:
    found = [r for r in registry if (r.group, r.version) == (group_, version_)]
    resources_ = [_discovered_resource(resource) for resource in sorted(found, key=lambda r: r.plural)]
    return {"version": version_, "resources": resources_, "freshness": "Current"}


def _discovered_resource(resource: Resource) -> Document:
    own = {"group": "", "version": "", "kind": resource.kind}  # empty: as the version it stands in
    entry: Document = {
        "resource": resource.plural,
        "responseKind": own,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = []
    for name in sorted(resource.subresources):
        shown = _subresource(resource, name)
        kind = {key: shown.get(key, own[key]) for key in ("group", "version", "kind")}
        subresources.append({"subresource": name, "responseKind": kind, "verbs": shown["verbs"]})
    if subresources:
        entry["subresources"] = subresources
    return entry


def _entry(resource: Resource) -> Document:
    entry: Document = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subresource(resource: Resource, name: str) -> Document:
    entry: Document = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": "ServiceProxyOptions" if name == "proxy" else resource.kind,
        "verbs": _VERBS[name],
    }
    if name in _KINDS:
        entry["group"], entry["version"], entry["kind"] = _KINDS[name]
    return entry

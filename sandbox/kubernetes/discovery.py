"""Discovery documents: /api, /apis, a group, a version; /version."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.definitions import VERSION
from sandbox.kubernetes.resources import Registry, Resource

Document = dict[str, Any]

# Subresources that speak another kind than their parent: (group, version, kind).
_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "finalize": ["update"],
    "log": ["get"],
    "eviction": ["create"],
    "binding": ["create"],
    "token": ["create"],
    "proxy": ["create", "delete", "get", "patch", "update"],
}
_CONNECT_KINDS = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}


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
        raise errors.no_such_path()
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
        raise errors.no_such_path()
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
        "kind": _CONNECT_KINDS[resource.plural] if name == "proxy" else resource.kind,
        "verbs": _VERBS[name],
    }
    if name in _KINDS:
        entry["group"], entry["version"], entry["kind"] = _KINDS[name]
    return entry

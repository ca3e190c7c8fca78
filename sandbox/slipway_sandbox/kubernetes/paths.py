"""Which resource, namespace, name and subresource a request's path means."""

from __future__ import annotations

from dataclasses import dataclass

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.resources import Registry, Resource

_CONNECTING = frozenset({"proxy"})  # subresources whose path goes on


@dataclass(frozen=True)
class Target:
    """A request's target. `rest` is what follows `proxy`, without its leading slash."""

    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    rest: str = ""


def parse(registry: Registry, parts: list[str]) -> Target:
    """`parts` are the path's segments after splitting at slashes. Raises ApiStatus 404."""
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None:
        raise errors.no_such_path() if registry.builds_in(group) else errors.no_such_group()
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else ""
    beyond = "/".join(rest[3:])
    if subresource and subresource not in resource.subresources:
        raise errors.no_such_path()
    if beyond and subresource not in _CONNECTING:
        raise errors.no_such_path()
    if namespace is not None and not resource.namespaced:
        raise errors.no_such_path()
    if resource.namespaced and namespace is None and name is not None:
        raise errors.no_such_path()
    return Target(resource, namespace, name, subresource, beyond)

"""Decide from NetworkPolicy documents alone which paths are open. Pure.

A path is open where the policies of its source let it out and those of its destination let it in:
https://kubernetes.io/docs/concepts/services-networking/network-policies/. What the cluster's CNI enforces is not
seen here (docs/not-run-on-aws.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Document = Mapping[str, Any]
Direction = Literal["Ingress", "Egress"]
Protocol = Literal["TCP", "UDP"]
NAMESPACE_NAME = "kubernetes.io/metadata.name"  # the API server labels every namespace with its own name


@dataclass(frozen=True)
class Pod:
    """A pod as one end of a path. `ports`: its named container ports."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: Mapping[str, int] = field(default_factory=dict)
    # set where an ipBlock must be matched against it as well
    address: str | None = None


@dataclass(frozen=True)
class Address:
    """An IP address outside the cluster's pods, as one end of a path."""

    name: str
    address: str


End = Pod | Address


@dataclass(frozen=True)
class Path:
    """A connection that must, or must not, be open, and why."""

    source: End
    destination: End
    port: int
    must_be_open: bool
    reason: str
    protocol: Protocol = "TCP"

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.destination.name}:{self.port}/{self.protocol}"


def wrong_paths(policies: Sequence[Document], paths: Iterable[Path]) -> list[str]:
    """One line for each path that is shut and must be open, or open and must be shut."""
    found = []
    for path in paths:
        shut_by = shutters(policies, path)
        if path.must_be_open and shut_by:
            found.append(f"{path} is shut by {' and '.join(shut_by)}: {path.reason}")
        if not path.must_be_open and not shut_by:
            found.append(f"{path} is open: {path.reason}")
    return found


def shutters(policies: Sequence[Document], path: Path) -> list[str]:
    """The directions that shut the path, each with the policies that isolate that end."""
    found = []
    layers: tuple[tuple[Direction, End, End], ...] = (
        ("Egress", path.source, path.destination),
        ("Ingress", path.destination, path.source),
    )
    for direction, here, there in layers:
        isolating = [policy for policy in policies if isolates(policy, direction, here)]
        if isolating and not any(_lets(policy, direction, here, there, path) for policy in isolating):
            names = ", ".join(policy["metadata"]["name"] for policy in isolating)
            found.append(f"{direction.lower()} policy of {here.name} ({names})")
    return found


def isolates(policy: Document, direction: Direction, end: End) -> bool:
    """Whether the policy applies to that end in that direction. None applies to an address."""
    if isinstance(end, Address) or policy["metadata"].get("namespace", "default") != end.namespace:
        return False
    spec = policy["spec"]
    # without policyTypes: Ingress always, Egress where there are egress rules
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return direction in types and selects(spec.get("podSelector") or {}, end.labels)


def _lets(policy: Document, direction: Direction, here: End, there: End, path: Path) -> bool:
    rules = policy["spec"].get(direction.lower()) or ()
    peers = "from" if direction == "Ingress" else "to"
    namespace = here.namespace if isinstance(here, Pod) else ""
    return any(
        _port_matches(rule.get("ports"), path)
        and (not rule.get(peers) or any(_peer_matches(peer, namespace, there) for peer in rule[peers]))
        for rule in rules
    )


def _peer_matches(peer: Document, namespace: str, end: End) -> bool:
    if "ipBlock" in peer:
        return end.address is not None and _in_block(peer["ipBlock"], end.address)
    if isinstance(end, Address):
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"] or {}, {NAMESPACE_NAME: end.namespace}):
            return False
    elif end.namespace != namespace:
        return False
    return selects(peer.get("podSelector") or {}, end.labels)


def _in_block(block: Document, address: str) -> bool:
    inside = ipaddress.ip_address(address)
    if inside not in ipaddress.ip_network(block["cidr"]):
        return False
    return not any(inside in ipaddress.ip_network(hole) for hole in block.get("except") or ())


def _port_matches(ports: Sequence[Document] | None, path: Path) -> bool:
    """Whether a rule's ports include the path's: no ports are all ports, a name is the destination pod's."""
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != path.protocol:
            continue
        first = entry.get("port")
        if isinstance(first, str):
            named = path.destination.ports if isinstance(path.destination, Pod) else {}
            first = named.get(first, -1)
        if first is None or first <= path.port <= entry.get("endPort", first):
            return True
    return False


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector selects these labels; an empty one selects all. Raises ValueError."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def _holds(expression: Document, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"no such operator in a label selector: {operator}")

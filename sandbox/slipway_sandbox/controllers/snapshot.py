"""The cluster as one scheduling decision sees it: nodes, what is on them, claims and volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from slipway_sandbox.controllers.objects import (
    Key,
    Object,
    key_of,
    labels_of,
    name_of,
    quantity,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import is_terminal, requests


@dataclass
class NodeInfo:
    """A node with the pods on it, those included that are only assumed to be."""

    node: Object
    pods: list[Object] = field(default_factory=list)
    requested: dict[str, Decimal] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.node)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.node)

    @property
    def allocatable(self) -> dict[str, Decimal]:
        status = status_of(self.node)
        amounts = status.get("allocatable") or status.get("capacity") or {}
        return {name: quantity(amount) for name, amount in amounts.items()}

    def add(self, pod: Object, asked: Mapping[str, Decimal]) -> None:
        self.pods.append(pod)
        for name, amount in asked.items():
            self.requested[name] = self.requested.get(name, Decimal(0)) + amount


@dataclass
class Snapshot:
    nodes: list[NodeInfo]
    claims: Mapping[Key, Object] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    classes: Mapping[str, Object] = field(default_factory=dict)
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Requests:
    """Each pod's requests, computed once: a pod's resources do not change under one uid and version."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, dict[str, Decimal]]] = {}

    def of(self, pod: Object) -> dict[str, Decimal]:
        uid, version = uid_of(pod), str(pod["metadata"].get("resourceVersion", ""))
        known = self._known.get(uid)
        if known is None or known[0] != version:
            known = self._known[uid] = (version, requests(pod))
        return known[1]

    def forget(self, pod: Object) -> None:
        self._known.pop(uid_of(pod), None)


def take_snapshot(
    nodes: Iterable[Object],
    pods: Iterable[Object],
    *,
    assumed: Mapping[str, str] | None = None,
    requests_of: Requests | None = None,
    claims: Iterable[Object] = (),
    volumes: Iterable[Object] = (),
    classes: Iterable[Object] = (),
    namespaces: Iterable[Object] = (),
) -> Snapshot:
    """`assumed`: node by pod uid, for pods whose binding is under way."""
    known = requests_of or Requests()
    infos = {name_of(node): NodeInfo(node) for node in sorted(nodes, key=name_of)}
    for pod in pods:
        if is_terminal(pod):
            continue
        where = pod["spec"].get("nodeName") or (assumed or {}).get(uid_of(pod))
        if where in infos:
            infos[where].add(pod, known.of(pod))
    return Snapshot(
        list(infos.values()),
        {key_of(claim): claim for claim in claims},
        {name_of(volume): volume for volume in volumes},
        {name_of(item): item for item in classes},
        {name_of(namespace): labels_of(namespace) for namespace in namespaces},
    )

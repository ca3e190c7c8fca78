"""One scheduling decision: filter the nodes, score those left, or say why there is none, in the scheduler's words.

Wording: kubernetes/pkg/scheduler/framework/types.go (FitError) and the plugins under framework/plugins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from slipway_sandbox.controllers.node_fit import (
    matches_node_selection,
    node_affinity,
    taints_of,
    tolerates,
    untolerated_taint,
)
from slipway_sandbox.controllers.objects import Object, matches_expression, name_of
from slipway_sandbox.controllers.pod_affinity import PodAffinity, TopologySpread, normalized
from slipway_sandbox.controllers.pods import requests
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot
from slipway_sandbox.controllers.volume_fit import VolumeFit, VolumePlan, volume_fit

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "value": ""}
_NO_VICTIMS = "No preemption victims found for incoming pod"
_NOT_HELPFUL = "Preemption is not helpful for scheduling"
# What a pod without requests is taken for in scoring (schedutil.DefaultMilliCPURequest, DefaultMemoryRequest).
_UNSAID = {"cpu": Decimal("0.1"), "memory": Decimal(200 * 1024**2)}


@dataclass(frozen=True)
class Placed:
    node: str
    volumes: VolumePlan


@dataclass(frozen=True)
class Unschedulable:
    message: str


@dataclass(frozen=True)
class Refusal:
    """Why one node is out. `curable`: fewer pods on it could help, so preemption would be tried."""

    reasons: tuple[str, ...]
    curable: bool = False


def decide_placement(pod: Object, snapshot: Snapshot) -> Placed | Unschedulable:
    """Where the pod goes. Nodes are taken as they are in the snapshot; nothing is preempted."""
    if not snapshot.nodes:
        return Unschedulable("no nodes available to schedule pods")
    total = len(snapshot.nodes)
    volumes = volume_fit(pod, snapshot)
    if volumes.refusal is not None:
        tail = _preemption(pod, Counter({_NOT_HELPFUL: total}), total)
        return Unschedulable(f"0/{total} nodes are available: {volumes.refusal}. {tail}")
    incoming = Incoming(pod, snapshot, volumes)
    refusals: list[Refusal] = []
    feasible: list[NodeInfo] = []
    for info in snapshot.nodes:
        refusal = incoming.refusal(info)
        if refusal is None:
            feasible.append(info)
        else:
            refusals.append(refusal)
    if not feasible:
        return Unschedulable(_fit_error(pod, refusals))
    best = max(incoming.scores(feasible), key=lambda scored: scored[0])[1]
    plan = volumes.plan(best, snapshot)
    assert plan is not None  # the filter passed this node
    return Placed(best.name, plan)


def _fit_error(pod: Object, refusals: Sequence[Refusal]) -> str:
    total = len(refusals)
    histogram = Counter(reason for refusal in refusals for reason in refusal.reasons)
    curable = Counter(_NO_VICTIMS if refusal.curable else _NOT_HELPFUL for refusal in refusals)
    said = ", ".join(_sorted(histogram))
    return f"0/{total} nodes are available: {said}. {_preemption(pod, curable, total)}"


def _sorted(histogram: Counter[str]) -> list[str]:
    return sorted(f"{count} {reason}" for reason, count in histogram.items())


def _preemption(pod: Object, outcomes: Counter[str], total: int) -> str:
    if pod["spec"].get("preemptionPolicy") == "Never":
        return "preemption: not eligible due to preemptionPolicy=Never."
    return f"preemption: 0/{total} nodes are available: {', '.join(_sorted(outcomes))}."


class Incoming:
    """A pod on its way: what is the same for every node is computed once."""

    def __init__(self, pod: Object, snapshot: Snapshot, volumes: VolumeFit) -> None:
        self.pod, self.snapshot, self.volumes = pod, snapshot, volumes
        self.requests = requests(pod)
        self.affinity = PodAffinity(pod, snapshot)
        self.spread = TopologySpread(pod, snapshot)

    def refusal(self, info: NodeInfo) -> Refusal | None:
        """The first plugin that refuses the node, in the scheduler's order of filters."""
        return self._by_node(info) or self._by_resources(info) or self._by_surroundings(info)

    def _by_node(self, info: NodeInfo) -> Refusal | None:
        spec, node = self.pod["spec"], info.node
        if node["spec"].get("unschedulable") and not tolerates(
            spec.get("tolerations") or [], _UNSCHEDULABLE_TAINT
        ):
            return Refusal(("node(s) were unschedulable",))
        if spec.get("nodeName") not in (None, "", info.name):
            return Refusal(("node(s) didn't match the requested node name",))
        if not _named(spec, node):
            return Refusal(("node(s) didn't satisfy plugin(s) [NodeAffinity]",))
        taint = untolerated_taint(spec, node, ("NoSchedule", "NoExecute"))
        if taint is not None:
            return Refusal((f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}",))
        if not matches_node_selection(spec, node):
            return Refusal(("node(s) didn't match Pod's node affinity/selector",))
        return None

    def _by_resources(self, info: NodeInfo) -> Refusal | None:
        have = info.allocatable
        reasons: list[str] = []
        curable = True
        if "pods" in have and len(info.pods) + 1 > have["pods"]:
            reasons.append("Too many pods")
        for name, amount in self.requests.items():
            room = have.get(name, Decimal(0))
            if amount and amount > room - info.requested.get(name, Decimal(0)):
                reasons.append(f"Insufficient {name}")
                curable = curable and amount <= room  # more than the node has at all: no victim helps
        return Refusal(tuple(reasons), curable) if reasons else None

    def _by_surroundings(self, info: NodeInfo) -> Refusal | None:
        found = (
            self.volumes.reason(info, self.snapshot) or self.spread.reason(info) or self.affinity.reason(info)
        )
        return Refusal((found[0],), found[1]) if found else None

    def scores(self, feasible: Sequence[NodeInfo]) -> list[tuple[tuple[float, int], NodeInfo]]:
        """((score, fewer pods first), node). Weights are those of the default profile."""
        affinity = [self.affinity.score(info) for info in feasible]
        spread = [self.spread.score(info) for info in feasible]
        preferred = [self._preferred(info) for info in feasible]
        shunned = [-self._shunned(info) for info in feasible]
        parts = [(affinity, 2.0), (spread, 2.0), (preferred, 2.0), (shunned, 3.0)]
        scales = [(values, normalized(values), weight) for values, weight in parts]
        return [
            (
                (
                    self._least_allocated(info)
                    + sum(scale(values[i]) * weight for values, scale, weight in scales),
                    -len(info.pods),
                ),
                info,
            )
            for i, info in enumerate(feasible)
        ]

    def _preferred(self, info: NodeInfo) -> float:
        terms = node_affinity(self.pod["spec"]).get("preferredDuringSchedulingIgnoredDuringExecution") or []
        return float(
            sum(
                int(term["weight"])
                for term in terms
                if all(
                    matches_expression(e, info.labels)
                    for e in term["preference"].get("matchExpressions") or []
                )
            )
        )

    def _shunned(self, info: NodeInfo) -> float:
        tolerations = self.pod["spec"].get("tolerations") or []
        taints = [t for t in taints_of(info.node) if t["effect"] == "PreferNoSchedule"]
        return float(sum(tolerates(tolerations, taint) is None for taint in taints))

    def _least_allocated(self, info: NodeInfo) -> float:
        have = info.allocatable
        shares = [
            max(
                float((have[name] - info.requested.get(name, Decimal(0)) - self._asks(name)) / have[name]),
                0.0,
            )
            for name in ("cpu", "memory")
            if have.get(name)
        ]
        return 100.0 * sum(shares) / len(shares) if shares else 0.0

    def _asks(self, name: str) -> Decimal:
        return self.requests.get(name) or _UNSAID[name]


def _named(spec: Object, node: Object) -> bool:
    """A pod meant for nodes by name (a DaemonSet's): the others are not even looked at."""
    required = node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or []
    if not terms or not all(term.get("matchFields") for term in terms):
        return True
    fields: Mapping[str, str] = {"metadata.name": name_of(node)}
    return any(all(matches_expression(e, fields) for e in term["matchFields"]) for term in terms)

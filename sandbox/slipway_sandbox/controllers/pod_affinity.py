"""Pod affinity, anti-affinity and topology spread (plugins interpodaffinity and podtopologyspread)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from slipway_sandbox.controllers.node_fit import matches_node_selection
from slipway_sandbox.controllers.objects import Object, is_deleting, labels_of, matches_selector
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
Domain = tuple[str, str]
"""(topology key, its value on a node)"""


def _terms(pod: Object, kind: str, strength: str) -> list[Object]:
    return ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(strength) or []


def selects(term: Object, owner: Object, pod: Object, snapshot: Snapshot) -> bool:
    """Whether an affinity term of `owner` is about `pod`."""
    namespace = pod["metadata"].get("namespace", "")
    names, selector = term.get("namespaces") or [], term.get("namespaceSelector")
    if not names and selector is None:
        in_scope = namespace == owner["metadata"].get("namespace", "")
    else:
        labels = snapshot.namespace_labels.get(namespace, {})
        in_scope = namespace in names or (selector is not None and matches_selector(selector, labels))
    return in_scope and matches_selector(term.get("labelSelector"), labels_of(pod))


class PodAffinity:
    """Counts once over the cluster for one incoming pod, then answers node by node."""

    def __init__(self, pod: Object, snapshot: Snapshot) -> None:
        self._pod = pod
        self._affinity = _terms(pod, "podAffinity", _REQUIRED)
        anti = _terms(pod, "podAntiAffinity", _REQUIRED)
        self._near = [self._domains(snapshot, term) for term in self._affinity]
        self._far = set().union(*(self._domains(snapshot, term) for term in anti)) if anti else set()
        self._forbidden: set[Domain] = set()
        self._weights: Counter[Domain] = Counter()
        for info in snapshot.nodes:
            for other in info.pods:
                self._consider(info, other, snapshot)
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity")):
            for preference in _terms(pod, kind, _PREFERRED):
                term = preference["podAffinityTerm"]
                for domain, count in self._counted(snapshot, term).items():
                    self._weights[domain] += sign * int(preference["weight"]) * count
        # The first pod of a group that wants to be near itself must be allowed somewhere.
        self._first = not any(self._near) and all(selects(t, pod, pod, snapshot) for t in self._affinity)

    def _consider(self, info: NodeInfo, other: Object, snapshot: Snapshot) -> None:
        """What a pod that is already there demands of the incoming one."""
        for term in _terms(other, "podAntiAffinity", _REQUIRED):
            value = info.labels.get(term["topologyKey"])
            if value is not None and selects(term, other, self._pod, snapshot):
                self._forbidden.add((term["topologyKey"], value))

    def _counted(self, snapshot: Snapshot, term: Object) -> Counter[Domain]:
        key = term["topologyKey"]
        found: Counter[Domain] = Counter()
        for info in snapshot.nodes:
            if key in info.labels:
                number = sum(selects(term, self._pod, other, snapshot) for other in info.pods)
                if number:
                    found[(key, info.labels[key])] += number
        return found

    def _domains(self, snapshot: Snapshot, term: Object) -> set[Domain]:
        return set(self._counted(snapshot, term))

    def reason(self, info: NodeInfo) -> tuple[str, bool] | None:
        """(why the node is out, whether removing pods from it could help); None where it is fine."""
        for term, near in zip(self._affinity, self._near, strict=True):
            value = info.labels.get(term["topologyKey"])
            if value is None or ((term["topologyKey"], value) not in near and not self._first):
                return AFFINITY, False
        here = set(info.labels.items())
        if self._far & here:
            return ANTI_AFFINITY, True
        if self._forbidden & here:
            return EXISTING_ANTI_AFFINITY, True
        return None

    def score(self, info: NodeInfo) -> float:
        here = set(info.labels.items())
        return float(sum(weight for domain, weight in self._weights.items() if domain in here))


class TopologySpread:
    """topologySpreadConstraints of one incoming pod."""

    def __init__(self, pod: Object, snapshot: Snapshot) -> None:
        self._pod = pod
        constraints = pod["spec"].get("topologySpreadConstraints") or []
        self._hard = [
            self._count(c, snapshot) for c in constraints if c["whenUnsatisfiable"] == "DoNotSchedule"
        ]
        self._soft = [
            self._count(c, snapshot) for c in constraints if c["whenUnsatisfiable"] != "DoNotSchedule"
        ]

    def _count(self, constraint: Object, snapshot: Snapshot) -> tuple[Object, Counter[str]]:
        key = constraint["topologyKey"]
        counts: Counter[str] = Counter()
        honoured = constraint.get("nodeAffinityPolicy", "Honor") == "Honor"
        for info in snapshot.nodes:
            if key not in info.labels or (
                honoured and not matches_node_selection(self._pod["spec"], info.node)
            ):
                continue
            counts[info.labels[key]] += sum(self._alike(constraint, other) for other in info.pods)
        return constraint, counts

    def _alike(self, constraint: Object, other: Object) -> bool:
        same = other["metadata"].get("namespace") == self._pod["metadata"].get("namespace")
        selector = constraint.get("labelSelector")
        return same and not is_deleting(other) and matches_selector(selector, labels_of(other))

    def reason(self, info: NodeInfo) -> tuple[str, bool] | None:
        for constraint, counts in self._hard:
            value = info.labels.get(constraint["topologyKey"])
            if value is None:
                return SPREAD_LABEL, False
            lowest = min(counts.values(), default=0)
            if len(counts) < int(constraint.get("minDomains") or 1):
                lowest = 0
            more = self._alike(constraint, self._pod)
            if counts.get(value, 0) + more - lowest > int(constraint["maxSkew"]):
                return SPREAD, True
        return None

    def score(self, info: NodeInfo) -> float:
        """Fewer of its kind in the node's domains is better."""
        return -float(sum(counts.get(info.labels.get(c["topologyKey"], ""), 0) for c, counts in self._soft))


def normalized(scores: Iterable[float]) -> Callable[[float], float]:
    """A function from the range of `scores` onto 0..100."""
    known = list(scores)
    low, high = min(known, default=0.0), max(known, default=0.0)
    return lambda score: 0.0 if high == low else 100.0 * (score - low) / (high - low)

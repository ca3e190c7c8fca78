"""Which pods go on nodes that are there or coming, and which new nodes the others need. A pure decision.

As kubernetes-sigs/karpenter, pkg/controllers/provisioning/scheduling: the biggest pods first; nodes that are there before
nodes of this round before new ones; NodePools by weight. Whether a pod fits a node is asked of the scheduler's own filters,
each offering posing as the node it would become. What is said of a pod begins as upstream (v1.14.1, scheduler.go, nodeclaim.go);
where no offering holds it, the filters' reasons follow instead of the requirements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from slipway_sandbox.controllers.node_fit import (
    matches_node_selection,
    node_affinity,
    tolerates,
    untolerated_taint,
)
from slipway_sandbox.controllers.objects import Object, quantity
from slipway_sandbox.controllers.placement import Incoming
from slipway_sandbox.controllers.pods import requests
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot
from slipway_sandbox.controllers.volume_fit import volume_fit
from slipway_sandbox.images.karpenter.offerings import Offering, Pool, resources, within
from slipway_sandbox.images.karpenter.resources import said_taint

MAX_TYPES = 60  # types one NodeClaim may name (pkg/controllers/provisioning/scheduling/nodeclaimtemplate.go)


@dataclass
class Draft:
    """A node to be asked for: every offering it may still become, and the pods it is for."""

    pool: Pool
    number: int
    labels: dict[str, str]
    candidates: list[tuple[Offering, NodeInfo]]
    pods: list[Object] = field(default_factory=list)

    @property
    def offerings(self) -> list[Offering]:
        """The cheapest first, of at most MAX_TYPES types."""
        kinds = dict.fromkeys(offering.type.name for offering, _ in self.candidates)
        kept = set(list(kinds)[:MAX_TYPES])
        return [offering for offering, _ in self.candidates if offering.type.name in kept]

    @property
    def requests(self) -> dict[str, Decimal]:
        """What the pods and the DaemonSets' pods ask for together."""
        return dict(self.candidates[0][1].requested)


@dataclass
class Plan:
    """`nominations`: (pod, node) for nodes that are there or coming; `errors`: (pod, why there is no node for it)."""

    drafts: list[Draft] = field(default_factory=list)
    nominations: list[tuple[Object, str]] = field(default_factory=list)
    errors: list[tuple[Object, str]] = field(default_factory=list)


class Packing:
    """One round. `snapshot` has the nodes that are there and those coming; `daemons` are pods each new node gets."""

    def __init__(self, snapshot: Snapshot, pools: Iterable[Pool], daemons: Sequence[Object]) -> None:
        self._snapshot, self._daemons = snapshot, daemons
        self._pools = sorted(pools, key=lambda pool: (-pool.weight, pool.name))
        self._remaining: dict[str, dict[str, Decimal] | None] = {
            pool.name: None if pool.remaining is None else dict(pool.remaining) for pool in self._pools
        }
        self._plan = Plan()

    def decide(self, pods: Iterable[Object]) -> Plan:
        for pod in sorted(pods, key=_order):
            whys = []
            for strict in strictness(pod):
                why = self._place(strict, pod)
                if why is None:
                    break
                whys.append(why)
            else:
                self._plan.errors.append((pod, whys[-1]))
        return self._plan

    def _place(self, pod: Object, asked: Object) -> str | None:
        """Why there is no node for the pod; None where there is one. `asked`: the pod as it was made."""
        view = Snapshot(
            [*self._snapshot.nodes, *(draft.candidates[0][1] for draft in self._plan.drafts)],
            self._snapshot.claims,
            self._snapshot.volumes,
            self._snapshot.classes,
            self._snapshot.namespace_labels,
        )
        volumes = volume_fit(pod, view)
        if volumes.refusal is not None:
            return str(volumes.refusal)
        incoming = Incoming(pod, view, volumes)
        if self._on_a_node(incoming, asked) or self._on_a_draft(incoming, asked):
            return None
        if not self._pools:
            return "no nodepools found"
        reasons = []
        for pool in self._pools:
            if not (suitable := pool.suitable()):
                continue  # EC2 offers nothing of it now
            made = self._draft(incoming, pool, suitable, asked)
            if isinstance(made, Draft):
                self._plan.drafts.append(made)
                return None
            reasons.append(made)
        nothing = "nodepool requirements filtered out all available instance types"
        return "; ".join(reasons) or nothing

    def _on_a_node(self, incoming: Incoming, asked: Object) -> bool:
        for info in self._snapshot.nodes:
            if incoming.refusal(info) is None:
                info.add(incoming.pod, incoming.requests)
                self._plan.nominations.append((asked, info.name))
                return True
        return False

    def _on_a_draft(self, incoming: Incoming, asked: Object) -> bool:
        for draft in sorted(self._plan.drafts, key=lambda draft: len(draft.pods)):
            if _custom_differs(draft, incoming.pod):
                continue
            kept = [c for c in draft.candidates if incoming.refusal(c[1]) is None]
            if kept:
                draft.candidates = kept
                self._put(draft, incoming, asked)
                return True
        return False

    def _draft(self, incoming: Incoming, pool: Pool, suitable: list[Offering], asked: Object) -> Draft | str:
        """A node of this pool for the pod, or why there is none."""
        remaining = self._remaining[pool.name]
        if remaining is not None and remaining.get("nodes", Decimal(1)) <= 0:
            return f"node limits have been exhausted for nodepool (NodePool={pool.name})"
        allowed = [offering for offering in suitable if within(offering.type, remaining)]
        if not allowed:
            return f"all available instance types exceed limits for nodepool (NodePool={pool.name})"
        tolerations = incoming.pod["spec"].get("tolerations") or []
        taints = [t for t in pool.template.get("taints") or [] if t["effect"] != "PreferNoSchedule"]
        if untolerated := [t for t in taints if tolerates(tolerations, t) is None]:
            return "; ".join(f"did not tolerate taint (taint={said_taint(t)})" for t in untolerated)
        custom = pool.custom(incoming.pod)
        if isinstance(custom, str):
            return f"incompatible requirements, {custom}"
        labels, number = pool.labels | custom, len(self._plan.drafts)
        candidates = [(o, self._pose(o, pool, labels, f"draft-{number}")) for o in allowed]
        judged = [(candidate, incoming.refusal(candidate[1])) for candidate in candidates]
        kept = [candidate for candidate, refusal in judged if refusal is None]
        if not kept:
            said = sorted({reason for _, refusal in judged if refusal for reason in refusal.reasons})
            return (
                f"no instance type met the scheduling requirements or had enough resources, {', '.join(said)}"
            )
        draft = Draft(pool, number, labels, kept)
        self._put(draft, incoming, asked)
        self._take(draft)
        return draft

    def _put(self, draft: Draft, incoming: Incoming, asked: Object) -> None:
        draft.pods.append(asked)
        for _, info in draft.candidates:
            info.add(incoming.pod, incoming.requests)

    def _take(self, draft: Draft) -> None:
        """The limits lose what the biggest of the candidates would use: which one comes is not known yet."""
        remaining = self._remaining[draft.pool.name]
        if remaining is None:
            return
        for name in remaining:
            amounts = [_capacity(offering, name) for offering in draft.offerings]
            remaining[name] -= max(amounts)

    def _pose(self, offering: Offering, pool: Pool, labels: Mapping[str, str], name: str) -> NodeInfo:
        """The node the offering would become, with the pods its DaemonSets would put there."""
        node: Object = {
            "metadata": {
                "name": name,
                "labels": {**labels, **offering.labels(), "kubernetes.io/hostname": name},
            },
            "spec": {"taints": pool.template.get("taints") or []},
            "status": {"allocatable": resources(offering.type, allocatable=True)},
        }
        info = NodeInfo(node)
        for daemon in daemons_on(node, self._daemons):
            info.add(daemon, requests(daemon))
        return info


def strictness(pod: Object) -> Iterator[Object]:
    """The pod with its heaviest node preference as a requirement, then the next one, at last without any.

    pkg/controllers/provisioning/scheduling/preferences.go (removePreferredNodeAffinityTerm) and pkg/scheduling/requirements.go
    (NewPodRequirements); other preferences are not looked at.
    """
    affinity = node_affinity(pod["spec"])
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for preference in sorted(preferred, key=lambda each: -int(each["weight"])):
        wanted = preference["preference"].get("matchExpressions") or []
        terms = [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or []), *wanted]}
            for term in required.get("nodeSelectorTerms") or [{}]
        ]
        strict = {**affinity, "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        spec = pod["spec"]
        yield {**pod, "spec": {**spec, "affinity": {**spec["affinity"], "nodeAffinity": strict}}}
    yield pod


def daemons_on(node: Object, daemons: Iterable[Object]) -> list[Object]:
    """The pods of DaemonSets that would run on the node."""
    effects = ("NoSchedule", "NoExecute")
    return [
        daemon
        for daemon in daemons
        if untolerated_taint(daemon["spec"], node, effects) is None
        and matches_node_selection(daemon["spec"], node)
    ]


def _capacity(offering: Offering, name: str) -> Decimal:
    if name == "nodes":
        return Decimal(1)
    return quantity(resources(offering.type, allocatable=False).get(name, "0"))


def _custom_differs(draft: Draft, pod: Object) -> bool:
    """The pod selects another value of a label of the user's own than the draft has taken."""
    custom = draft.pool.custom(pod)
    wanted = pod["spec"].get("nodeSelector") or {}
    return isinstance(custom, str) or any(
        draft.labels[key] != value for key, value in custom.items() if key in wanted
    )


def _order(pod: Object) -> tuple[Decimal, Decimal, str]:
    asked = requests(pod)
    return (
        -asked.get("cpu", Decimal(0)),
        -asked.get("memory", Decimal(0)),
        pod["metadata"].get("creationTimestamp", ""),
    )

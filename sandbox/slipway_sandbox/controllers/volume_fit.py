"""A pod's claims seen from a node (plugins volumebinding, volumezone and volumerestrictions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway_sandbox.controllers.ephemeral import ephemeral_claim_name, ephemeral_volumes, not_for_pod
from slipway_sandbox.controllers.node_fit import matches_node_terms
from slipway_sandbox.controllers.objects import (
    Key,
    Object,
    annotations_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    quantity,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import claim_names
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot
from slipway_sandbox.controllers.volumes import (
    SELECTED_NODE,
    binds_late,
    claims_volume,
    class_name,
    is_bound,
    satisfies,
)

NODE_CONFLICT = "node(s) had volume node affinity conflict"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
ONE_POD_ONLY = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


@dataclass(frozen=True)
class VolumePlan:
    """What has to happen before the pod is bound: volumes to claim, claims to have provisioned."""

    take: tuple[tuple[Object, Object], ...] = ()
    """(claim, volume) pairs"""
    provision: tuple[Object, ...] = ()


@dataclass
class VolumeFit:
    """The claims of one incoming pod. `refusal`: why no node at all will do, as the scheduler says it."""

    bound: list[tuple[Object, Object]] = field(default_factory=list)
    late: list[Object] = field(default_factory=list)
    users: Mapping[Key, list[tuple[str, Object]]] = field(default_factory=dict)
    refusal: str | None = None

    def reason(self, info: NodeInfo, snapshot: Snapshot) -> tuple[str, bool] | None:
        """(why the node is out, whether removing pods from it could help)."""
        for claim in [claim for claim, _ in self.bound] + self.late:
            conflict = self._in_use(claim, info)
            if conflict is not None:
                return conflict
        for _, volume in self.bound:
            if not volume_reaches(volume, info.node):
                return NODE_CONFLICT, False
        if self.late and self.plan(info, snapshot) is None:
            return NO_VOLUME, False
        return None

    def _in_use(self, claim: Object, info: NodeInfo) -> tuple[str, bool] | None:
        modes = set(claim["spec"].get("accessModes") or [])
        users = self.users.get(key_of(claim), [])
        if "ReadWriteOncePod" in modes and users:
            return ONE_POD_ONLY, True
        # ReadWriteOnce is not looked at: a second node is refused when it attaches (Multi-Attach error).
        return None

    def plan(self, info: NodeInfo, snapshot: Snapshot) -> VolumePlan | None:
        """How the late claims get volumes on this node; None where they cannot."""
        take: list[tuple[Object, Object]] = []
        provision: list[Object] = []
        taken: set[str] = set()
        for claim in self.late:
            selected = annotations_of(claim).get(SELECTED_NODE)
            if (
                selected and selected != info.name
            ):  # even of a node that is gone: it is the provisioner's to take away
                return None
            volume = _static(claim, info, snapshot, taken)
            if volume is not None:
                taken.add(name_of(volume))
                take.append((claim, volume))
            elif _can_provision(snapshot.classes[class_name(claim)], info.node):
                provision.append(claim)
            else:
                return None
        return VolumePlan(tuple(take), tuple(provision))


def volume_fit(pod: Object, snapshot: Snapshot) -> VolumeFit:
    """Sort the pod's claims into bound and late ones (VolumeBinding's PreFilter)."""
    fit = VolumeFit()
    namespace = pod["metadata"].get("namespace", "")
    users: dict[Key, list[tuple[str, Object]]] = {}
    own = {ephemeral_claim_name(pod, volume) for volume in ephemeral_volumes(pod)}
    for name in claim_names(pod):
        claim = snapshot.claims.get((namespace, name))
        fit.refusal = _not_its_own(pod, name, claim) if name in own else None
        fit.refusal = fit.refusal or _refusal(name, claim, snapshot)
        if fit.refusal is not None or claim is None:
            return fit
        others = [(n, p) for n, p in snapshot.users_of((namespace, name)) if uid_of(p) != uid_of(pod)]
        users[(namespace, name)] = others
        if is_bound(claim):
            fit.bound.append((claim, snapshot.volumes[claim["spec"]["volumeName"]]))
        else:
            fit.late.append(claim)
    fit.users = users
    return fit


def _not_its_own(pod: Object, name: str, claim: Object | None) -> str | None:
    """Of a generic ephemeral volume: its claim is there, and no one else's."""
    if claim is None:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
    return not_for_pod(pod, claim) or None


def _refusal(name: str, claim: Object | None, snapshot: Snapshot) -> str | None:
    if claim is None:
        return f'persistentvolumeclaim "{name}" not found'
    if is_deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    volume = claim["spec"].get("volumeName", "")
    if status_of(claim).get("phase") == "Lost" or (is_bound(claim) and volume not in snapshot.volumes):
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if is_bound(claim):
        return None
    if volume or not binds_late(snapshot.classes.get(class_name(claim))):
        return UNBOUND
    return None


def volume_reaches(volume: Object, node: Object) -> bool:
    """The volume's nodeAffinity, and the zone labels older volumes carry instead."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is not None and not matches_node_terms(required.get("nodeSelectorTerms") or [], node):
        return False
    for label in ("topology.kubernetes.io/zone", "topology.kubernetes.io/region"):
        zones = labels_of(volume).get(label)
        if zones is not None and labels_of(node).get(label) not in zones.split("__"):
            return False
    return True


def _static(claim: Object, info: NodeInfo, snapshot: Snapshot, taken: set[str]) -> Object | None:
    free = [
        volume
        for volume in snapshot.volumes.values()
        if name_of(volume) not in taken
        and satisfies(volume, claim)
        and volume_reaches(volume, info.node)
        and _is_free(volume, claim)
    ]
    return min(free, key=lambda v: (quantity(v["spec"]["capacity"]["storage"]), name_of(v)), default=None)


def _is_free(volume: Object, claim: Object) -> bool:
    if volume["spec"].get("claimRef"):
        return claims_volume(volume, claim)
    return status_of(volume).get("phase") == "Available"


def _can_provision(storage_class: Object, node: Object) -> bool:
    if storage_class["provisioner"] == "kubernetes.io/no-provisioner":
        return False
    topologies = storage_class.get("allowedTopologies")
    if not topologies:
        return True
    labels = labels_of(node)
    return any(
        all(labels.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions") or [])
        for term in topologies
    )

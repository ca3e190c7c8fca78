"""A pod's claims seen from a node (plugins volumebinding, volumezone and volumerestrictions)."""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway_sandbox.controllers.ephemeral import ephemeral_claim_name, ephemeral_volumes, not_for_pod
from slipway_sandbox.controllers.node_fit import matches_node_terms
from slipway_sandbox.controllers.objects import (
    Object,
    annotations_of,
    is_deleting,
    labels_of,
    status_of,
)
from slipway_sandbox.controllers.pods import claim_names
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot
from slipway_sandbox.controllers.volumes import (
    SELECTED_NODE,
    binds_late,
    class_name,
    is_bound,
)

NODE_CONFLICT = "node(s) had volume node affinity conflict"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True)
class VolumePlan:
    """What has to happen before the pod is bound: claims to have provisioned."""

    provision: tuple[Object, ...] = ()


@dataclass
class VolumeFit:
    """The claims of one incoming pod. `refusal`: why no node at all will do, as the scheduler says it."""

    bound: list[tuple[Object, Object]] = field(default_factory=list)
    late: list[Object] = field(default_factory=list)
    refusal: str | None = None

    def reason(self, info: NodeInfo, snapshot: Snapshot) -> tuple[str, bool] | None:
        """(why the node is out, whether removing pods from it could help)."""
        # ReadWriteOnce is not looked at: a second node is refused when it attaches (Multi-Attach error).
        for _, volume in self.bound:
            if not volume_reaches(volume, info.node):
                return NODE_CONFLICT, False
        if self.late and self.plan(info, snapshot) is None:
            return NO_VOLUME, False
        return None

    def plan(self, info: NodeInfo, snapshot: Snapshot) -> VolumePlan | None:
        """How the late claims get volumes on this node; None where they cannot. A volume made for one is bound before."""
        provision: list[Object] = []
        for claim in self.late:
            selected = annotations_of(claim).get(SELECTED_NODE)
            # Even of a node that is gone: the annotation is the provisioner's to take away.
            if selected and selected != info.name:
                return None
            if _can_provision(snapshot.classes[class_name(claim)], info.node):
                provision.append(claim)
            else:
                return None
        return VolumePlan(tuple(provision))


def volume_fit(pod: Object, snapshot: Snapshot) -> VolumeFit:
    """Sort the pod's claims into bound and late ones (VolumeBinding's PreFilter)."""
    fit = VolumeFit()
    namespace = pod["metadata"].get("namespace", "")
    own = {ephemeral_claim_name(pod, volume) for volume in ephemeral_volumes(pod)}
    for name in claim_names(pod):
        claim = snapshot.claims.get((namespace, name))
        fit.refusal = _not_its_own(pod, name, claim) if name in own else None
        fit.refusal = fit.refusal or _refusal(name, claim, snapshot)
        if fit.refusal is not None or claim is None:
            return fit
        if is_bound(claim):
            fit.bound.append((claim, snapshot.volumes[claim["spec"]["volumeName"]]))
        else:
            fit.late.append(claim)
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

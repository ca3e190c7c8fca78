"""Binding of claims to volumes, and their protection (pkg/controller/volume/{persistentvolume,pvcprotection,pvprotection})."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    VOLUMES,
    Object,
    annotations_of,
    is_deleting,
    key_of,
    labels_of,
    matches_selector,
    name_of,
    quantity,
    status_of,
    timestamp,
    uid_of,
)
from slipway_sandbox.controllers.writes import Decision, Note, Patch, Update, Write, edited, update_status

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
OLD_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"


def decide_claim(
    claim: Object, volumes: Sequence[Object], classes: Sequence[Object], in_use: bool
) -> Decision:
    """The next step of a claim. `in_use`: a scheduled pod mounts it."""
    protection = _protect(CLAIMS, claim, CLAIM_PROTECTION, keep=in_use)
    if protection or is_deleting(claim):
        return Decision(protection)
    if BIND_COMPLETED in annotations_of(claim):
        return Decision(_check_bound(claim, volumes))
    if claim["spec"].get("volumeName"):
        return Decision(_bind_named(claim, volumes))
    storage_class = next((c for c in classes if name_of(c) == class_name(claim)), None)
    volume = pre_bound(claim, volumes)
    if volume is None and not binds_late(storage_class):  # a late claim's volume is the scheduler's choice
        volume = find_match(claim, volumes)
    if volume is not None:
        return Decision(bind(claim, volume))
    return Decision([*_pending(claim), *_provision(claim, storage_class)])


def class_name(claim: Object) -> str:
    return str(claim["spec"].get("storageClassName") or "")


def binds_late(storage_class: Object | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def waits_for_consumer(claim: Object, storage_class: Object | None) -> bool:
    """A late claim for whose pod the scheduler has not chosen a node yet."""
    return binds_late(storage_class) and SELECTED_NODE not in annotations_of(claim)


def is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def claims_volume(volume: Object, claim: Object) -> bool:
    """The volume's claimRef names this claim, by uid where it has one."""
    reference = volume["spec"].get("claimRef")
    if not reference or (reference.get("namespace"), reference.get("name")) != key_of(claim):
        return False
    return reference.get("uid") in (None, "", uid_of(claim))


def pre_bound(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """A volume whose claimRef was written for this claim beforehand."""
    return next((v for v in volumes if claims_volume(v, claim) and satisfies(v, claim)), None)


def find_match(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """The smallest free volume that satisfies the claim."""
    free = [
        volume
        for volume in volumes
        if not volume["spec"].get("claimRef")
        and status_of(volume).get("phase") == "Available"
        and not is_deleting(volume)
        and satisfies(volume, claim)
        and matches_selector(claim["spec"].get("selector") or {}, labels_of(volume))
    ]
    return min(free, key=lambda v: (quantity(v["spec"]["capacity"]["storage"]), name_of(v)), default=None)


def satisfies(volume: Object, claim: Object) -> bool:
    wanted = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")
    have = (volume["spec"].get("capacity") or {}).get("storage", "0")
    return (
        (volume["spec"].get("storageClassName") or "") == class_name(claim)
        and set(claim["spec"].get("accessModes") or []) <= set(volume["spec"].get("accessModes") or [])
        and quantity(have) >= quantity(wanted)
        and _mode(volume) == _mode(claim)
    )


def _mode(item: Object) -> str:
    return str(item["spec"].get("volumeMode") or "Filesystem")


def bind(claim: Object, volume: Object) -> list[Write]:
    """Volume first, then the claim: a crash between the two leaves a pre-bound volume, which is taken up again."""
    writes: list[Write] = []
    reference = volume["spec"].get("claimRef") or {}
    if reference.get("uid") != uid_of(claim):
        namespace, name = key_of(claim)
        new = edited(volume)
        new["spec"]["claimRef"] = {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": namespace,
            "name": name,
            "uid": uid_of(claim),
            "resourceVersion": claim["metadata"].get("resourceVersion"),
        }
        if not reference:
            new["metadata"].setdefault("annotations", {})[BOUND_BY] = "yes"
        writes.append(Update(VOLUMES, new))
    item = edited(claim)
    annotations = item["metadata"].setdefault("annotations", {})
    if item["spec"].get("volumeName") != name_of(volume):
        item["spec"]["volumeName"] = name_of(volume)
        annotations[BOUND_BY] = "yes"
    annotations[BIND_COMPLETED] = "yes"
    writes.append(Update(CLAIMS, item))
    return [*writes, *update_status(CLAIMS, item, _bound_status(claim, volume))]


def _bound_status(claim: Object, volume: Object) -> Object:
    return {
        **status_of(claim),
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes"),
        "capacity": volume["spec"].get("capacity"),
    }


def _check_bound(claim: Object, volumes: Sequence[Object]) -> list[Write]:
    name = claim["spec"].get("volumeName")
    volume = next((v for v in volumes if name_of(v) == name), None)
    lost = status_of(claim).get("phase") == "Lost"
    if volume is None:
        if lost:
            return []
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return [*_lost(claim), Note(claim, "PersistentVolumeClaim", "ClaimLost", message, warning=True)]
    if not volume["spec"].get("claimRef"):
        return bind(claim, volume)
    if not claims_volume(volume, claim):
        if lost:
            return []
        message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return [*_lost(claim), Note(claim, "PersistentVolumeClaim", "ClaimMisbound", message, warning=True)]
    if status_of(claim).get("phase") == "Bound":
        return []
    return update_status(CLAIMS, claim, _bound_status(claim, volume))


def _lost(claim: Object) -> list[Write]:
    # What the volume had given it goes with the volume.
    gone = {"phase": "Lost", "accessModes": None, "capacity": None}
    return update_status(CLAIMS, claim, {**status_of(claim), **gone})


def _bind_named(claim: Object, volumes: Sequence[Object]) -> list[Write]:
    """The claim names its volume: bound as soon as that is there and free, whatever its size says."""
    volume = next((v for v in volumes if name_of(v) == claim["spec"]["volumeName"]), None)
    if volume is None:
        return _pending(claim)
    reference = volume["spec"].get("claimRef")
    if reference and not claims_volume(volume, claim):
        message = f'volume "{name_of(volume)}" already bound to a different claim.'
        return [*_pending(claim), _note(claim, "FailedBinding", message, warning=True)]
    return bind(claim, volume)


def _pending(claim: Object) -> list[Write]:
    return update_status(CLAIMS, claim, {**status_of(claim), "phase": "Pending"})


def _note(claim: Object, reason: str, message: str, *, warning: bool = False) -> Note:
    return Note(claim, "PersistentVolumeClaim", reason, message, warning)


def _provision(claim: Object, storage_class: Object | None) -> list[Write]:
    if not class_name(claim):
        message = "no persistent volumes available for this claim and no storage class is set"
        return [_note(claim, "FailedBinding", message)]
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_name(claim)}" not found'
        return [_note(claim, "ProvisioningFailed", message, warning=True)]
    if waits_for_consumer(claim, storage_class):
        message = "waiting for first consumer to be created before binding"
        return [_note(claim, "WaitForFirstConsumer", message)]
    driver = storage_class["provisioner"]
    if driver == "kubernetes.io/no-provisioner":
        message = f"no volume plugin matched name: {driver}"
        return [_note(claim, "ProvisioningFailed", message, warning=True)]
    if annotations_of(claim).get(PROVISIONER) == driver:
        return []
    annotations = {PROVISIONER: driver, OLD_PROVISIONER: driver}
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{driver}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return [
        Patch(CLAIMS, claim, {"metadata": {"annotations": annotations}}),
        _note(claim, "ExternalProvisioning", message),
    ]


def decide_volume(volume: Object, claims: Iterable[Object], now: datetime) -> Decision:
    """Phase and protection of a volume. What is Released under the Delete policy is the CSI driver's to remove."""
    reference = volume["spec"].get("claimRef")
    claim = next((c for c in claims if reference and claims_volume(volume, c)), None)
    bound = claim is not None and claim["spec"].get("volumeName") == name_of(volume)
    protection = _protect(VOLUMES, volume, VOLUME_PROTECTION, keep=bound)
    if protection:
        return Decision(protection)
    if bound:
        phase = "Bound"
    elif reference and reference.get("uid") and claim is None:
        phase = "Released"
    elif status_of(volume).get("phase") in ("Released", "Failed") and reference:
        phase = status_of(volume)["phase"]
    else:
        phase = "Available"
    status: dict[str, Any] = {**status_of(volume), "phase": phase}
    if phase != status_of(volume).get("phase") or "lastPhaseTransitionTime" not in status:
        status["lastPhaseTransitionTime"] = timestamp(now)
    return Decision(update_status(VOLUMES, volume, status))


def _protect(resource: Any, item: Object, finalizer: str, *, keep: bool) -> list[Write]:
    """The finalizer is on every living object; on a deleted one it stays only as long as it must."""
    present = item["metadata"].get("finalizers") or []
    if is_deleting(item):
        if keep or finalizer not in present:
            return []
        wanted = [name for name in present if name != finalizer]
    elif finalizer in present:
        return []
    else:
        wanted = [*present, finalizer]
    changed = edited(item)
    changed["metadata"]["finalizers"] = wanted
    return [Update(resource, changed)]

"""What the EBS CSI driver asks of EC2, and the objects made of its answers. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers.objects import quantity
from slipway_sandbox.nodes.node_objects import ZONE_LABEL

DRIVER = "ebs.csi.aws.com"
COMPONENT = "ebs.csi.aws.com_ebs-csi-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
FAST_RESTORE_ZONES = "fastsnapshotrestoreavailabilityzones"
GIB = 1024**3


class BadParameter(Exception):
    """A class's parameter that the driver refuses, in its words."""


def asked_bytes(claim: Object) -> int:
    return math.ceil(quantity(claim["spec"]["resources"]["requests"]["storage"]))


def size_gib(claim: Object) -> int:
    """The volume's size: what the claim asks for, rounded up to whole GiB as EBS sells them."""
    return max(1, math.ceil(asked_bytes(claim) / GIB))


def allowed_zones(storage_class: Object) -> set[str]:
    """Zones of `allowedTopologies`; empty means any."""
    keys = (ZONE_LABEL, "topology.ebs.csi.aws.com/zone")
    return {
        zone
        for term in storage_class.get("allowedTopologies") or []
        for expression in term.get("matchLabelExpressions") or []
        if expression["key"] in keys
        for zone in expression["values"]
    }


def _owned(kind_tag: str, name: str, cluster: str) -> dict[str, str]:
    return {
        kind_tag: name,
        "ebs.csi.aws.com/cluster": "true",
        f"kubernetes.io/cluster/{cluster}": "owned",
        "KubernetesCluster": cluster,
        "Name": f"{cluster}-dynamic-{name}",
    }


def _more_tags(parameters: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    """The tagSpecification_N parameters: "key=value", with `words` for the templates in the value."""
    tags: dict[str, str] = {}
    for key in sorted(k for k in parameters if k.lower().startswith("tagspecification_")):
        tag, _, value = parameters[key].partition("=")
        for template, text in words.items():
            value = value.replace(template, text)
        tags[tag] = value
    return tags


def _specification(kind: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]


def volume_arguments(
    claim: Object, storage_class: Object, name: str, zone: str, cluster: str
) -> dict[str, Any]:
    """CreateVolume's arguments. Keys of a StorageClass's parameters are case-insensitive to the driver."""
    given = {key.lower(): str(value) for key, value in (storage_class.get("parameters") or {}).items()}
    metadata = claim["metadata"]
    tags = _owned("CSIVolumeName", name, cluster) | {
        "kubernetes.io/created-for/pv/name": name,
        "kubernetes.io/created-for/pvc/name": metadata["name"],
        "kubernetes.io/created-for/pvc/namespace": metadata["namespace"],
    }
    words = {
        "{{ .PVCName }}": metadata["name"],
        "{{ .PVCNamespace }}": metadata["namespace"],
        "{{ .PVName }}": name,
    }
    arguments: dict[str, Any] = {
        "AvailabilityZone": zone,
        "Size": size_gib(claim),
        "VolumeType": given.get("type", "gp3"),
        "Encrypted": given.get("encrypted", "false").lower() == "true",
        "TagSpecifications": _specification("volume", tags | _more_tags(given, words)),
    }
    if "kmskeyid" in given:
        arguments["KmsKeyId"] = given["kmskeyid"]
    for key, argument in (("iops", "Iops"), ("throughput", "Throughput")):
        if key in given:
            arguments[argument] = int(given[key])
    return arguments


def snapshot_arguments(
    content: Object, name: str, snapshot_class: Object, cluster: str
) -> tuple[dict[str, Any], list[str]]:
    """(CreateSnapshot's arguments, zones to restore fast in). Raises BadParameter.

    Only a parameter's tag prefix is case-sensitive to the driver (pkg/driver/controller.go, CreateSnapshot).
    """
    reference = content["spec"]["volumeSnapshotRef"]
    given = {
        key: str(value)
        for key, value in (snapshot_class.get("parameters") or {}).items()
        if not key.startswith("csi.storage.k8s.io/")
    }
    zones: list[str] = []
    for key, value in given.items():
        if key.lower() == FAST_RESTORE_ZONES:
            zones = value.replace(" ", "").split(",")
        elif not key.startswith("tagSpecification"):
            raise BadParameter(f"Invalid parameter key {key} for CreateSnapshot")
    words = {
        "{{ .VolumeSnapshotName }}": reference["name"],
        "{{ .VolumeSnapshotNamespace }}": reference["namespace"],
        "{{ .VolumeSnapshotContentName }}": content["metadata"]["name"],
    }
    tags = _owned("CSIVolumeSnapshotName", name, cluster) | _more_tags(given, words)
    volume = content["spec"]["source"]["volumeHandle"]
    return {
        "VolumeId": volume,
        "Description": f"Created by AWS EBS CSI driver for volume {volume}",
        "TagSpecifications": _specification("snapshot", tags),
    }, zones


def volume_object(
    claim: Object, storage_class: Object, name: str, handle: str, zone: str, size: int
) -> Object:
    """The PersistentVolume of a new EC2 volume of `size` GiB."""
    metadata = claim["metadata"]
    file_system = (storage_class.get("parameters") or {}).get("csi.storage.k8s.io/fstype", "ext4")
    policy = storage_class.get("reclaimPolicy") or "Delete"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: DRIVER},
            # the real one takes it from a retained volume at once: nothing else would, and the object would stay for ever
            # (sig-storage-lib-external-provisioner v11, controller.go, handleProtectionFinalizer)
            "finalizers": [FINALIZER] if policy == "Delete" else [],
        },
        "spec": {
            "capacity": {"storage": f"{size}Gi"},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": claim["spec"].get("volumeMode") or "Filesystem",
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": storage_class["metadata"]["name"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "csi": {
                "driver": DRIVER,
                "volumeHandle": handle,
                "fsType": file_system,
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": COMPONENT},
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]}
                    ]
                }
            },
        },
    }

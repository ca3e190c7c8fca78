"""The claim that proves the EBS CSI driver: made, looked at, and removed with its volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until_none
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.names import ENVIRONMENT_TAG


def probe_name(environment: Environment) -> str:
    """Of its claim, pod and class: two environments may share a cluster."""
    return f"slipway-verify-ebs-{environment.name}"


def documents(environment: Environment, namespace: str, root: Path) -> list[dict[str, Any]]:
    """Class, claim and pod, in the order they are applied. The volume has the environment's tag: the inventory finds it."""
    name = probe_name(environment)
    found: list[dict[str, Any]] = list(
        yaml.safe_load_all((root / "k8s/addons/verify/ebs-claim.yaml").read_text())
    )
    for document in found:
        document["metadata"]["name"] = name
        if document["kind"] == "StorageClass":
            document["parameters"]["tagSpecification_1"] = f"{ENVIRONMENT_TAG}={environment.name}"
            continue
        document["metadata"]["namespace"] = namespace
        if document["kind"] == "PersistentVolumeClaim":
            document["spec"]["storageClassName"] = name
        else:
            document["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = name
    return found


def remove(cluster: Cluster, environment: Environment, namespace: str, root: Path) -> None:
    """Delete what is there of it; the driver deletes the volume once it is detached."""
    for document in reversed(documents(environment, namespace, root)):
        cluster.delete(
            document["apiVersion"],
            document["kind"],
            document["metadata"]["name"],
            document["metadata"].get("namespace"),
        )


def await_removal(cluster: Cluster, environment: Environment, namespace: str, *, time: Time = REAL) -> None:
    """Wait until its volume is gone. Raises ClusterError where it stays."""

    def left() -> list[Object]:
        wanted = (namespace, probe_name(environment))
        return [volume for volume in cluster.list("v1", "PersistentVolume") if _claim_of(volume) == wanted]

    def late(seen: Sequence[Object]) -> ClusterError:
        name = objects.name(seen[0])
        return ClusterError(
            f"the volume of the probe claim {probe_name(environment)} did not go away",
            # events of what has no namespace are in this one
            evidence=cluster.events("default", name)[-3:],
            next_command=f"kubectl describe persistentvolume {name}",
        )

    until_none(left, environment.deadlines.drain, late, time)


def _claim_of(volume: Object) -> tuple[str | None, str | None]:
    reference = objects.spec(volume).get("claimRef") or {}
    return reference.get("namespace"), reference.get("name")

"""Pause and resume KEDA for one workload.

https://keda.sh/docs/latest/concepts/scaling-deployments/#pausing-autoscaling
"""

from __future__ import annotations

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster

PAUSED = "autoscaling.keda.sh/paused-replicas"
KEDA = ("keda.sh/v1alpha1", "ScaledObject")


def pause_at(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """Make KEDA hold the workload at `replicas`, and set the scale at once rather than at KEDA's next poll."""
    if cluster.get(*KEDA, name, namespace):
        cluster.patch(*KEDA, name, {"metadata": {"annotations": {PAUSED: str(replicas)}}}, namespace)
    set_scale(cluster, namespace, name, replicas)


def is_paused_at_zero(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether a workload is still held at zero: whoever wakes it ends the pause first."""
    return objects.annotations(cluster.get(*KEDA, name, namespace)).get(PAUSED) == "0"


def resume(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """Let KEDA scale again; a workload at zero is set to `replicas` at once."""
    scaled = cluster.get(*KEDA, name, namespace)
    if PAUSED in objects.annotations(scaled):
        cluster.patch(*KEDA, name, {"metadata": {"annotations": {PAUSED: None}}}, namespace)
    workload = cluster.get("apps/v1", "Deployment", name, namespace)
    if workload and objects.spec(workload).get("replicas", 1) == 0:
        set_scale(cluster, namespace, name, replicas)


def set_scale(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """Set the Deployment's replicas through its scale subresource, as an autoscaler does."""
    cluster.patch("apps/v1", "Deployment", name, {"spec": {"replicas": replicas}}, namespace, "scale")

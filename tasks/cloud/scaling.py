"""KEDA's switch on one workload: paused at a number of replicas, or in charge.

https://keda.sh/docs/latest/concepts/scaling-deployments/#pausing-autoscaling
"""

from __future__ import annotations

from tasks.cloud.kubernetes import Cluster

PAUSED = "autoscaling.keda.sh/paused-replicas"
KEDA = ("keda.sh/v1alpha1", "ScaledObject")


def pause_at(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """KEDA holds the workload at `replicas`; the scale is set at once too, not at KEDA's next look."""
    if cluster.get(*KEDA, name, namespace):
        cluster.patch(*KEDA, name, {"metadata": {"annotations": {PAUSED: str(replicas)}}}, namespace)
    set_scale(cluster, namespace, name, replicas)


def resume(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """KEDA is in charge again; a workload at zero is brought to `replicas` at once."""
    scaled = cluster.get(*KEDA, name, namespace)
    if scaled and PAUSED in (scaled["metadata"].get("annotations") or {}):
        cluster.patch(*KEDA, name, {"metadata": {"annotations": {PAUSED: None}}}, namespace)
    workload = cluster.get("apps/v1", "Deployment", name, namespace)
    if workload and workload["spec"].get("replicas", 1) == 0:
        set_scale(cluster, namespace, name, replicas)


def set_scale(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    """Set the Deployment's replicas through its scale subresource, as an autoscaler does."""
    cluster.patch("apps/v1", "Deployment", name, {"spec": {"replicas": replicas}}, namespace, "scale")

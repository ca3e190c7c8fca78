"""The weights of a tiny model on a volume, as warming would have left them."""

from __future__ import annotations

from pathlib import Path

from tasks.cloud.kubernetes import Cluster
from tasks.rollout.manifests import load
from tests.support.builders import ROOT
from tests.support.workloads import NAMESPACE, Document, claim, phase, wait

CLAIM, PATH = "weights", "tiny"
BUSYBOX = "public.ecr.aws/docker/library/busybox:1.37"


def storage_class(name: str) -> Document:
    """EBS volumes that are made where their first pod is scheduled."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3"},
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def shell_pod(name: str, pods: Document, script: str) -> Document:
    """A pod that runs a script with the volume at /models; `pods`: nodeSelector and tolerations."""
    container = {
        "name": "copy",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "cache", "mountPath": "/models"}],
    }
    volume = {"name": "cache", "persistentVolumeClaim": {"claimName": CLAIM}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**pods, "restartPolicy": "Never", "containers": [container], "volumes": [volume]},
    }


def put_weights(cluster: Cluster, pods: Document, models: Path) -> None:
    """Apply what serving pods need beside their Deployment, and copy a tiny Llama onto the claim."""
    cluster.apply(storage_class("waits"))
    cluster.apply(load(ROOT, "serving/serviceaccount.yaml"))
    cluster.apply(claim(CLAIM))
    cluster.apply(shell_pod("writer", pods, f"cp -r {models / 'tiny-llama' / 'main'} /models/{PATH}"))
    wait(lambda: phase(cluster, "writer") == "Succeeded")
    cluster.delete("v1", "Pod", "writer", NAMESPACE)

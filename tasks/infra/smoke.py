"""GPU smoke test of new nodes, before a model is placed there: nvidia-smi, memory, one matrix product in the serving image.

A node that fails is cordoned and kept: nothing comes onto it, it can be looked at, and Karpenter takes it away as an empty one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, changes, until
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.progress import Reporter

JOB_KIND = ("batch/v1", "Job")
NAMESPACE = "kube-system"
PROOF = "slipway.dev/gpu-smoke"  # annotation of the node: what its test said
RUN_SECONDS = 180.0
# of EC2's nominal memory, by Karpenter's label in MiB; CUDA shows less (tasks/preflight/gpus.py)
MEMORY_LABEL, MEMORY_SHARE = "karpenter.k8s.aws/instance-gpu-memory", 0.85


def job(environment: Environment, model: Model, node: Object, seconds: float, root: Path) -> Object:
    """The Job of k8s/gpu-nodes/smoke.yaml for one node; it takes all of its GPUs. Pure but for reading the files."""
    folder = root / "k8s" / "gpu-nodes"
    document: Object = yaml.safe_load((folder / "smoke.yaml").read_text())
    gpu, gpus = environment.cluster.gpu, objects.gpus_allocatable(node)
    least = math.floor(int(objects.labels(node).get(MEMORY_LABEL, "0")) * MEMORY_SHARE)
    digest = hashlib.sha256(objects.name(node).encode()).hexdigest()[:12]
    document["metadata"]["name"] = f"gpu-smoke-{digest}"
    document["spec"]["activeDeadlineSeconds"] = math.ceil(seconds)
    pod = document["spec"]["template"]["spec"]
    pod |= {
        "nodeSelector": {"kubernetes.io/hostname": objects.labels(node)["kubernetes.io/hostname"]},
        "tolerations": [gpu.taint.toleration],
    }
    if gpu.runtime_class:
        pod["runtimeClassName"] = gpu.runtime_class
    [container] = pod["containers"]
    container["image"] = environment.pulled_as(model.engine.image)
    container["command"] = ["python3", "-c", (folder / "smoke.py").read_text(), str(gpus), str(least)]
    for amounts in container["resources"].values():
        amounts[names.GPU] = str(gpus)
    return document


def choose(nodes: Sequence[Object], pods: Sequence[Object]) -> list[Object]:
    """The nodes to test: Ready, take pods, have a GPU, were not tested yet, and no pod has a GPU of theirs. Pure."""
    taken = {objects.node_of(pod) for pod in objects.living(pods) if objects.gpus_requested(pod)}
    return [
        node
        for node in nodes
        if objects.is_ready(node)
        and not objects.spec(node).get("unschedulable")
        and objects.gpus_allocatable(node)
        and PROOF not in objects.annotations(node)
        and objects.name(node) not in taken
    ]


def prove(
    environment: Environment,
    model: Model,
    cluster: Cluster,
    root: Path,
    reporter: Reporter,
    *,
    more_for_pull: float = 0.0,
    time: Time = REAL,
) -> list[str]:
    """Test the new GPU nodes one after the other; the names of those that passed.

    `more_for_pull`: seconds beyond `deadlines.pod_start` for the image's size. Raises ClusterError for one that fails, which is
    cordoned.
    """
    starting = environment.deadlines.pod_start + more_for_pull
    passed = []
    for node in choose(objects.gpu_nodes(cluster, environment), cluster.list("v1", "Pod")):
        name = objects.name(node)
        reporter.say(f"smoke test of the GPUs of {name}")
        document = job(environment, model, node, starting + RUN_SECONDS, root)
        cluster.delete(*JOB_KIND, objects.name(document), NAMESPACE)
        cluster.apply(document)
        try:
            ok, said = result(document, cluster, starting + RUN_SECONDS, reporter, time)
        finally:
            cluster.delete(*JOB_KIND, objects.name(document), NAMESPACE)
        note = {"metadata": {"annotations": {PROOF: said[:200]}}}
        if not ok:
            cluster.patch("v1", "Node", name, {**note, "spec": {"unschedulable": True}})
            raise ClusterError(
                f"the GPUs of {name} fail their smoke test; the node is cordoned",
                evidence=[said],
                next_command=f"kubectl describe node {name}; the same command again takes another node",
            )
        cluster.patch("v1", "Node", name, note)
        reporter.say(f"{name}: {said}")
        passed.append(name)
    return passed


def result(
    document: Object, cluster: Cluster, seconds: float, reporter: Reporter, time: Time
) -> tuple[bool, str]:
    """Wait for the Job's pod to end; whether it passed, and the last line of its log. Raises ClusterError at the deadline."""
    selector, say = f"job-name={objects.name(document)}", changes(reporter.say)

    def look() -> tuple[bool, str] | None:
        for pod in cluster.list("v1", "Pod", NAMESPACE, label_selector=selector):
            if objects.has_ended(pod):
                lines = cluster.logs(NAMESPACE, objects.name(pod)).splitlines()
                return objects.status(pod).get("phase") == "Succeeded", lines[
                    -1
                ] if lines else "its log is empty"
            say(f"smoke test: pod {objects.name(pod)} {objects.status(pod).get('phase')}")
        return None

    def late() -> ClusterError:
        return ClusterError(
            f"the GPU smoke test {objects.name(document)} did not end within {seconds:.0f} s",
            evidence=cluster.events(NAMESPACE, objects.name(document))[-3:],
            next_command=f"kubectl -n {NAMESPACE} get pods,events -l app=slipway-gpu-smoke",
        )

    return until(look, seconds, late, time)

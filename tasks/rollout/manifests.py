"""The manifests of one release: k8s/*.yaml completed from Model and Environment. Pure: files in, documents out."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Engine, Model
from tasks.records.quantities import parse_quantity
from tasks.records.results import Release, WarmCache

Document = dict[str, Any]
Strategy = Literal["RollingUpdate", "Recreate"]

KEY_SECRET = "slipway-api-key"  # noqa: S105  a Secret's name
RELEASE_ANNOTATION = "slipway.dev/release"
MODEL_LABEL = "slipway.dev/model"
COMPILE_ALLOWANCE_SECONDS = 240.0  # torch.compile and graph capture of a first start (docs/decisions.md)
GRACE_MARGIN_SECONDS = 10
SHARED_MEMORY = 16 * 2**30  # bytes at most for NCCL; half of the replica's memory where that is less


def load(root: Path, name: str) -> Document:
    """One plain manifest of k8s/."""
    document: Document = yaml.safe_load((root / "k8s" / name).read_text())
    return document


def start_budget_seconds(weight_bytes: int, environment: Environment) -> float:
    """How long a replica may load: its bytes over the slowest read allowed, and the compile allowance."""
    read = weight_bytes / (environment.deadlines.cold_read_mib_s * 2**20)
    return read + COMPILE_ALLOWANCE_SECONDS


def startup_probe(budget_seconds: float) -> tuple[int, int]:
    """(periodSeconds, failureThreshold): a look costs nothing and waiting for the next one does, so a start is
    looked at some 200 times within its budget, every second at most and every ten seconds at least."""
    period = max(1, min(10, math.floor(budget_seconds / 200)))
    return period, math.ceil(budget_seconds / period)


def engine_arguments(engine: Engine, *, model_path: str, served_name: str) -> list[str]:
    """vLLM's command line. Each flag is --name=value, so that a value never reads as a flag."""
    arguments = [
        model_path,  # positional: `vllm serve` warns about --model, and later versions drop it
        f"--served-model-name={served_name}",
        "--host=0.0.0.0",
        "--port=8000",
        f"--max-model-len={engine.max_model_len}",
        f"--gpu-memory-utilization={engine.gpu_memory_utilization}",
        f"--tensor-parallel-size={engine.tensor_parallel_size}",
        f"--dtype={engine.dtype}",
        f"--max-num-seqs={engine.max_num_seqs}",
        f"--shutdown-timeout={math.ceil(engine.shutdown_timeout)}",
    ]
    if engine.quantization:
        arguments.append(f"--quantization={engine.quantization}")
    if engine.kv_cache_dtype != "auto":
        arguments.append(f"--kv-cache-dtype={engine.kv_cache_dtype}")
    if engine.trust_remote_code:
        arguments.append("--trust-remote-code")
    return [*arguments, *engine.extra_args]


def workload_name(model: Model) -> str:
    return f"vllm-{model.name}"


def most_replicas(model: Model) -> int:
    return max(model.replicas, model.scaling.max_replicas)


def check_replicas(model: Model, cache: WarmCache) -> None:
    """One ReadWriteOnce volume serves one replica; several need a clone each. Raises InputError."""
    wanted = most_replicas(model)
    if wanted > 1 and not cache.snapshot:
        raise InputError(
            f"{model.name} asks for up to {wanted} replicas, but its cache volume can serve one",
            evidence=[
                "an EBS volume is ReadWriteOnce: a second replica on another node cannot attach it",
                "replicas take a clone each from a VolumeSnapshot of the warmed volume, and there is none",
            ],
            next_command=f"set cache.snapshot: auto in models/{model.name}.yaml, or replicas: 1 and "
            "scaling.max_replicas: 1",
        )


def deployment_strategy(strategy: Strategy, *, surge: int = 1, unavailable: int = 0) -> dict[str, Any]:
    """The Deployment's spec.strategy; `surge` and `unavailable` are replicas."""
    if strategy == "Recreate":
        return {"type": "Recreate"}
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


def weights_volume(model: Model, cache: WarmCache) -> Document:
    """The claim, for one replica; a claim of each pod's own, cloned from the snapshot, for several.

    https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
    """
    if most_replicas(model) == 1:
        return {"name": "models", "persistentVolumeClaim": {"claimName": cache.claim, "readOnly": True}}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": cache.storage_class,
        "dataSource": {
            "apiGroup": "snapshot.storage.k8s.io",
            "kind": "VolumeSnapshot",
            "name": cache.snapshot,
        },
        "resources": {"requests": {"storage": cache.size}},
    }
    labels = {"app": "model-cache", "model": model.name}
    return {
        "name": "models",
        "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": labels}, "spec": spec}},
    }


def beside_the_claim(model: Model) -> Document:
    """Pods that share one claim share its node: scheduled elsewhere they would wait for the volume for ever.

    A pod that is alone of its kind may go anywhere (Kubernetes lets the first match itself).
    """
    mine = {"key": MODEL_LABEL, "operator": "In", "values": [model.name, green_label(model)]}
    term = {"labelSelector": {"matchExpressions": [mine]}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def green_label(model: Model) -> str:
    """The model label of blue-green's second set of pods; no model is called so: names have no dot."""
    return f"{model.name}.green"


def deployment(
    root: Path,
    model: Model,
    environment: Environment,
    *,
    cache: WarmCache,
    strategy: Strategy,
    weight_bytes: int,
) -> Document:
    """The serving Deployment, without its release annotation (that is a hash over this)."""
    document = load(root, "serving/deployment.yaml")
    labels = {"app": "vllm", MODEL_LABEL: model.name}
    budget = start_budget_seconds(weight_bytes, environment)
    drain, stop = math.ceil(model.engine.drain), math.ceil(model.engine.shutdown_timeout)
    gpu = environment.cluster.gpu
    document["metadata"] |= {
        "name": workload_name(model),
        "namespace": environment.namespace,
        "labels": labels,
    }
    spec = document["spec"]
    spec["selector"]["matchLabels"] = labels
    spec["progressDeadlineSeconds"] = math.ceil(budget + environment.deadlines.pod_start)
    spec["strategy"] = deployment_strategy(strategy)
    template = spec["template"]
    template["metadata"]["labels"] = labels
    pod = template["spec"]
    pod["terminationGracePeriodSeconds"] = drain + stop + GRACE_MARGIN_SECONDS
    pod["nodeSelector"] = {gpu.label_key: gpu.label_value}
    pod["tolerations"] = [gpu_toleration(environment)]
    container = pod["containers"][0]
    container["image"] = model.engine.image
    container["args"] = engine_arguments(
        model.engine, model_path=f"/models/{cache.path}", served_name=model.name
    )
    period, threshold = startup_probe(budget)
    container["startupProbe"] |= {"periodSeconds": period, "failureThreshold": threshold}
    container["startupProbe"]["exec"]["command"][-1] = model.name
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = drain
    amounts = {"nvidia.com/gpu": str(model.resources.gpu), "memory": model.resources.memory}
    container["resources"] = {"requests": amounts | {"cpu": model.resources.cpu}, "limits": amounts}
    if model.resources.gpu > 1:
        # NCCL passes tensors between the GPUs of a node through shared memory; the default is 64 MiB.
        container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
        pod["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm_size(model)}})
    pod["volumes"][0] = weights_volume(model, cache)
    if most_replicas(model) == 1:
        pod["affinity"] = beside_the_claim(model)
    return document


def shm_size(model: Model) -> str:
    """What is written there counts as the container's memory: it may not take all of it."""
    return f"{int(min(SHARED_MEMORY, parse_quantity(model.resources.memory) / 2)) // 2**20}Mi"


def gpu_toleration(environment: Environment) -> Document:
    """The toleration that matches the GPU nodes' taint: made from it, so the two cannot disagree."""
    taint = environment.cluster.gpu.taint
    if not taint.value:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def scaling_query(model: Model, namespace: str) -> str:
    """Requests waiting and running: what a replica has to do. Metric names are vLLM's own."""
    labels = f'{{namespace="{namespace}",model_name="{model.name}"}}'
    return f"sum(vllm:num_requests_waiting{labels}) + sum(vllm:num_requests_running{labels})"


def serving(
    root: Path,
    model: Model,
    environment: Environment,
    *,
    cache: WarmCache,
    strategy: Strategy,
    weight_bytes: int,
) -> list[Document]:
    """All documents of the serving side in the order they are applied."""
    check_replicas(model, cache)
    namespace = environment.namespace
    account, policy, monitor = (
        load(root, f"serving/{name}.yaml") for name in ("serviceaccount", "networkpolicy", "podmonitor")
    )
    for document in (account, policy, monitor):
        document["metadata"]["namespace"] = namespace
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    endpoint["interval"] = f"{math.ceil(environment.scrape_interval)}s"
    service = load(root, "serving/service.yaml")
    service["metadata"] |= {"name": workload_name(model), "namespace": namespace}
    service["metadata"]["labels"][MODEL_LABEL] = model.name
    service["spec"]["selector"][MODEL_LABEL] = model.name
    scaled = load(root, "serving/scaledobject.yaml")
    scaled["metadata"] |= {"name": workload_name(model), "namespace": namespace}
    scaled["spec"]["scaleTargetRef"]["name"] = workload_name(model)
    scaled["spec"] |= {
        "cooldownPeriod": math.ceil(model.scaling.cooldown),
        "minReplicaCount": model.scaling.min_replicas,
        "maxReplicaCount": model.scaling.max_replicas,
    }
    scaled["spec"]["triggers"][0]["metadata"] |= {
        "query": scaling_query(model, namespace),
        "threshold": str(model.scaling.requests_per_replica),
    }
    workload = deployment(root, model, environment, cache=cache, strategy=strategy, weight_bytes=weight_bytes)
    return [account, policy, service, monitor, workload, scaled]


def release_of(
    model: Model, environment: Environment, cache: WarmCache, documents: Sequence[Document]
) -> Release:
    """The release these documents are, by what they say and not by how they are rolled out."""
    return Release(
        model=model.name,
        environment=environment.name,
        repo=model.source.repo,
        commit=cache.commit,
        image=model.engine.image,
        engine=model.engine,
        manifests_sha256=manifests_sha256(documents),
    )


def manifests_sha256(documents: Sequence[Document]) -> str:
    """A hash over the documents, leaving out what depends on the moment: the strategy."""
    plain = copy.deepcopy(list(documents))
    for document in plain:
        if document["kind"] == "Deployment":
            document["spec"].pop("strategy", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def stamped(documents: Sequence[Document], release: Release) -> list[Document]:
    """The same documents, the workload and its pods annotated with the release."""
    stamped_documents = copy.deepcopy(list(documents))
    note = {
        RELEASE_ANNOTATION: release.id,
        "slipway.dev/repo": release.repo,
        "slipway.dev/commit": release.commit,
    }
    for document in stamped_documents:
        if document["kind"] == "Deployment":
            document["metadata"].setdefault("annotations", {}).update(note)
            document["spec"]["template"]["metadata"].setdefault("annotations", {}).update(note)
    return stamped_documents

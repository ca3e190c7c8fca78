"""Complete k8s/serving/*.yaml from a Model and an Environment into the documents of one release. Pure."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.cloud import node_affinity
from tasks.cloud.reachability import NAMESPACE_NAME
from tasks.records import chat_template, names
from tasks.records.cache import Stream
from tasks.records.environment import Environment
from tasks.records.model import Engine, Model, Resources, Steps
from tasks.records.quantities import parse_quantity
from tasks.records.questions import PATHS, probe_route, question
from tasks.records.results import Release
from tasks.records.tracing import Tracing
from tasks.rollout import compile_cache, traces
from tasks.rollout.strategy import rolling_update
from tasks.rollout.weights import Weights, check_replicas, claim_affinity, most_replicas, weights_volume

Document = dict[str, Any]

# torch.compile and graph capture of a first start (docs/decisions.md)
COMPILE_ALLOWANCE_SECONDS = 240.0
GRACE_MARGIN_SECONDS = 10
# bytes NCCL gets at most; half of the replica's memory where that is less
SHARED_MEMORY = 16 * 2**30
# "warnings and errors, production minimum": without it a rank's log has an error code alone (docs.nvidia.com/deeplearning/nccl/user-guide, Logging)
NCCL_VARIABLES = {"NCCL_DEBUG": "WARN"}


def load(root: Path, name: str) -> Document:
    """Read one manifest of k8s/."""
    document: Document = yaml.safe_load((root / "k8s" / name).read_text())
    return document


def start_budget_seconds(weights: Weights, environment: Environment) -> float:
    """Seconds a replica may load: its bytes over the slowest read allowed, and the compile allowance."""
    waits = environment.deadlines
    read = weights.size / ((waits.stream_mib_s if weights.address else waits.cold_read_mib_s) * 2**20)
    return read + COMPILE_ALLOWANCE_SECONDS


def startup_probe(budget_seconds: float) -> tuple[int, int]:
    """The startup probe's (periodSeconds, failureThreshold): about 200 probes within the budget, one to ten seconds apart."""
    period = max(1, min(10, math.floor(budget_seconds / 200)))
    return period, math.ceil(budget_seconds / period)


def probe_words(model: Model) -> list[str]:
    """The startup probe's arguments: served name, path and body of a question that every model of the task answers."""
    route = probe_route(model.engine.task)
    return [model.name, f"/v1{PATHS[route]}", json.dumps(question(route, model.name, tokens=1))]


def engine_arguments(
    engine: Engine,
    *,
    model_path: str,
    served_name: str,
    stream: Stream | None = None,
    tracing: Tracing | None = None,
) -> list[str]:
    """vLLM's command line. Each flag is --name=value, so that a value is never read as a flag. `stream`: of weights in S3."""
    # the path is positional: `vllm serve` warns about --model, and later versions drop it
    arguments = [
        model_path,
        f"--served-model-name={served_name}",
        "--host=0.0.0.0",
        f"--port={names.VLLM_PORT}",
        f"--max-model-len={engine.max_model_len}",
        f"--gpu-memory-utilization={engine.gpu_memory_utilization}",
        f"--tensor-parallel-size={engine.tensor_parallel_size}",
        f"--dtype={engine.dtype}",
        f"--max-num-seqs={engine.max_num_seqs}",
        f"--shutdown-timeout={math.ceil(engine.shutdown_timeout)}",
    ]
    if engine.task != "generate":
        arguments.append("--runner=pooling")
    if engine.quantization:
        arguments.append(f"--quantization={engine.quantization}")
    if engine.kv_cache_dtype != "auto":
        arguments.append(f"--kv-cache-dtype={engine.kv_cache_dtype}")
    if engine.trust_remote_code:
        arguments.append("--trust-remote-code")
    if tracing:
        arguments.append(f"--otlp-traces-endpoint={tracing.endpoint}")
    if engine.chat_template:
        arguments.append(chat_template.argument(engine.chat_template, model_path))
    if stream:
        # the loader's keys: vllm 0.32.0, model_executor/model_loader/runai_streamer_loader.py
        limits = {"concurrency": stream.concurrency, "memory_limit": int(parse_quantity(stream.memory))}
        if engine.tensor_parallel_size > 1:
            # or each rank reads every file from S3 (weight_utils.py, runai_safetensors_weights_iterator)
            limits["distributed"] = True
        arguments += ["--load-format=runai_streamer", f"--model-loader-extra-config={json.dumps(limits)}"]
    if engine.lora:
        arguments += [
            "--enable-lora",
            f"--max-loras={engine.max_loras}",
            f"--max-lora-rank={engine.max_lora_rank}",
        ]
        paths = ((lora.name, names.cache_path(lora.repo, lora.revision)) for lora in engine.lora)
        # a list: one flag, and a word for each
        arguments += ["--lora-modules", *(f"{name}=/models/{path}" for name, path in paths)]
    return [*arguments, *engine.extra_args]


def deployment(root: Path, model: Model, environment: Environment, weights: Weights) -> Document:
    """The serving Deployment, without its release annotation (that is a hash over this)."""
    document = load(root, "serving/deployment.yaml")
    labels = {"app": names.VLLM, names.MODEL_LABEL: model.name}
    budget = start_budget_seconds(weights, environment)
    drain, stop = math.ceil(model.engine.drain), math.ceil(model.engine.shutdown_timeout)
    gpu = environment.cluster.gpu
    document["metadata"] |= {
        "name": names.workload(model),
        "namespace": environment.namespace,
        "labels": labels,
    }
    spec = document["spec"]
    spec["selector"]["matchLabels"] = labels
    spec["progressDeadlineSeconds"] = math.ceil(budget + environment.deadlines.pod_start)
    spec["strategy"] = rolling_update(surge=1, unavailable=0)
    template = spec["template"]
    template["metadata"]["labels"] = labels
    pod = template["spec"]
    pod["terminationGracePeriodSeconds"] = drain + stop + GRACE_MARGIN_SECONDS
    pod["nodeSelector"] = gpu.node_selector
    pod["tolerations"] = [gpu.taint.toleration]
    if gpu.runtime_class:
        pod["runtimeClassName"] = gpu.runtime_class
    container = pod["containers"][0]
    container["image"] = environment.pulled_as(model.engine.image)
    container["args"] = engine_arguments(
        model.engine,
        model_path=weights.model_path,
        served_name=model.name,
        stream=model.stream if weights.address else None,
        tracing=environment.tracing,
    )
    variables = (NCCL_VARIABLES if model.resources.gpu > 1 else {}) | model.engine.env
    if environment.tracing:
        variables = traces.variables(environment.tracing, model.name, environment.name) | variables
    container["env"] += [{"name": name, "value": value} for name, value in sorted(variables.items())]
    period, threshold = startup_probe(budget)
    container["startupProbe"] |= {"periodSeconds": period, "failureThreshold": threshold}
    container["startupProbe"]["exec"]["command"][-3:] = probe_words(model)
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = drain
    container["resources"] = resources_of(model.resources)
    if model.resources.gpu > 1:
        # NCCL passes tensors between the GPUs of a node through shared memory; the default is 64 MiB.
        container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
        pod["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm_size(model)}})
    if weights.address:
        pod["serviceAccountName"] = names.workload(model)
        template["metadata"]["labels"] = labels | {names.WEIGHTS_LABEL: "stream"}
        container["env"].append({"name": "AWS_REGION", "value": environment.region})
        pod["volumes"].pop(0)
        container["volumeMounts"].pop(0)
        return document
    pod["volumes"][0] = weights_volume(model, weights)
    compile_cache.add(root, model, weights, pod)
    if most_replicas(model) == 1:
        pod["affinity"] = claim_affinity(model)
    elif affinity := node_affinity.affinity(node_affinity.zone_preferences(gpu)):
        pod["affinity"] = affinity
    return document


def resources_of(resources: Resources) -> Document:
    """A replica's requests and limits: GPUs and memory are limited to what is requested, CPU and the node's disk are not."""
    limits = {names.GPU: str(resources.gpu), "memory": resources.memory}
    requests = limits | {"cpu": resources.cpu}
    if resources.ephemeral_storage:
        requests["ephemeral-storage"] = resources.ephemeral_storage
    return {"requests": requests, "limits": limits}


def shm_size(model: Model) -> str:
    """Size of /dev/shm, which counts as the container's memory: at most half of it."""
    return f"{int(min(SHARED_MEMORY, parse_quantity(model.resources.memory) / 2)) // 2**20}Mi"


def scaling_query(model: Model, namespace: str) -> str:
    """The PromQL of KEDA's trigger: requests running and waiting, each times its weight, by vLLM's own metric names."""
    labels = f'{{namespace="{namespace}",model_name="{model.name}"}}'
    running, waiting = model.scaling.running_weight, model.scaling.waiting_weight
    return (
        f"{running:g} * sum(vllm:num_requests_running{labels})"
        f" + {waiting:g} * sum(vllm:num_requests_waiting{labels})"
    )


def scaled_object(root: Path, model: Model, environment: Environment) -> Document:
    """The ScaledObject: bounds, trigger and the HPA's behaviour."""
    scaling, name = model.scaling, names.workload(model)
    document = load(root, "serving/scaledobject.yaml")
    document["metadata"] |= {"name": name, "namespace": environment.namespace}
    spec = document["spec"]
    spec["scaleTargetRef"]["name"] = name
    spec |= {"minReplicaCount": scaling.min_replicas, "maxReplicaCount": scaling.max_replicas}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    behavior["scaleUp"] = scaling_rules(scaling.scale_up, scaling.scale_up.window)
    behavior["scaleDown"] = scaling_rules(scaling.scale_down, scaling.cooldown)
    trigger = spec["triggers"][0]
    trigger["metadata"] |= {
        "serverAddress": environment.prometheus.address,
        "query": scaling_query(model, environment.namespace),
        "threshold": str(scaling.requests_per_replica),
        "activationThreshold": f"{scaling.activation:g}",
    }
    if scaling.polling is not None:
        spec["pollingInterval"] = math.ceil(scaling.polling)
        trigger["useCachedMetrics"] = True
    return document


def scaling_rules(steps: Steps, window: float) -> Document:
    """One direction of the HPA's behaviour; `window` is its stabilization, in seconds."""
    policy = {"type": "Pods", "value": steps.replicas, "periodSeconds": math.ceil(steps.every)}
    return {"stabilizationWindowSeconds": math.ceil(window), "selectPolicy": "Max", "policies": [policy]}


def serving(root: Path, model: Model, environment: Environment, weights: Weights) -> list[Document]:
    """All documents of the serving side, in the order they are applied. Raises InputError."""
    check_replicas(model, weights)
    namespace = environment.namespace
    account, policy, monitor = (
        load(root, f"serving/{name}.yaml") for name in ("serviceaccount", "networkpolicy", "podmonitor")
    )
    for document in (account, policy, monitor):
        document["metadata"]["namespace"] = namespace
    let_scraped(environment, policy["spec"]["ingress"][1], monitor)
    if environment.tracing:
        traces.let_out(environment.tracing, policy)
    service = load(root, "serving/service.yaml")
    service["metadata"] |= {"name": names.workload(model), "namespace": namespace}
    service["metadata"]["labels"][names.MODEL_LABEL] = model.name
    service["spec"]["selector"][names.MODEL_LABEL] = model.name
    workload = deployment(root, model, environment, weights)
    budgets = [disruption_budget(root, model, environment)] if model.scaling.min_replicas > 1 else []
    found = [account, policy, service, monitor, *budgets, workload, scaled_object(root, model, environment)]
    return [*streaming(root, model, namespace), *found] if weights.address else found


def disruption_budget(root: Path, model: Model, environment: Environment) -> Document:
    """The PodDisruptionBudget, of models with two replicas at least. `budgets.remove_stale` removes it where it is no more.

    EC2 takes a spot node whatever a budget says, and what could not be drained is cut: so there all but one may go at once.
    """
    document = load(root, "serving/poddisruptionbudget.yaml")
    document["metadata"] |= {"name": names.workload(model), "namespace": environment.namespace}
    document["spec"]["selector"]["matchLabels"][names.MODEL_LABEL] = model.name
    if environment.cluster.gpu.capacity_type != "ON_DEMAND":
        del document["spec"]["maxUnavailable"]
        document["spec"]["minAvailable"] = 1
    return document


def streaming(root: Path, model: Model, namespace: str) -> list[Document]:
    """What pods need to read their weights from S3: an account of their own, whose role terraform makes, and the way out."""
    account = load(root, "serving/serviceaccount.yaml")
    account["metadata"] |= {"name": names.workload(model), "namespace": namespace}
    policy = load(root, "serving/networkpolicy-stream.yaml")
    policy["metadata"]["namespace"] = namespace
    return [account, policy]


def let_scraped(environment: Environment, rule: Document, monitor: Document) -> None:
    """Complete a network policy's rule for the environment's Prometheus, and the PodMonitor that it goes by."""
    prometheus = environment.prometheus
    monitor["metadata"]["labels"] = dict(prometheus.monitor_labels)
    scraper = rule["from"][0]
    scraper["namespaceSelector"]["matchLabels"] = {NAMESPACE_NAME: prometheus.namespace}
    scraper["podSelector"]["matchLabels"] = dict(prometheus.pod_labels)
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    endpoint["interval"] = f"{math.ceil(environment.scrape_interval)}s"


def release_of(model: Model, environment: Environment, commit: str, documents: Sequence[Document]) -> Release:
    """The release that these documents are; how they are rolled out is not part of it."""
    return Release(
        model=model.name,
        environment=environment.name,
        repo=model.source.repo,
        commit=commit,
        image=model.engine.image,
        engine=model.engine,
        manifests_sha256=manifests_sha256(documents),
    )


def manifests_sha256(documents: Sequence[Document]) -> str:
    """A hash over the documents without the Deployment's strategy, which depends on the moment."""
    plain = copy.deepcopy(list(documents))
    for document in plain:
        if document["kind"] == "Deployment":
            document["spec"].pop("strategy", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def stamped(documents: Sequence[Document], release: Release) -> list[Document]:
    """Annotate the Deployment and its pods with the release; copies of the documents."""
    stamped_documents = copy.deepcopy(list(documents))
    note = {
        names.RELEASE_ANNOTATION: release.id,
        names.REPO_KEY: release.repo,
        names.COMMIT_KEY: release.commit,
    }
    for document in stamped_documents:
        if document["kind"] == "Deployment":
            document["metadata"].setdefault("annotations", {}).update(note)
            document["spec"]["template"]["metadata"].setdefault("annotations", {}).update(note)
    return stamped_documents

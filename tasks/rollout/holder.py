"""The holder, the service that wakes a model when a request comes and holds the request: its documents, and its readiness.

It exists only where a model of the environment has `scaling.scale_to_zero`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.environment import Environment
from tasks.records.errors import InputError, RolloutFailed
from tasks.records.hold import HeldModel, HolderSettings
from tasks.records.model import Model
from tasks.records.names import HOLDER
from tasks.records.quantities import parse_quantity
from tasks.rollout.manifests import Document, load

FILES = (
    "serviceaccount",
    "role",
    "rolebinding",
    "configmap",
    "networkpolicy",
    "networkpolicy-gateway",
    "networkpolicy-vllm",
    "service",
    "deployment",
)
# what is deleted where no model may sleep any more
WORKLOADS = (("apps/v1", "Deployment"), ("v1", "Service"))
# of the program without bodies; with 200 small requests held it was seen to take 95 MiB
PROGRAM_BYTES = 256 * 2**20
PREFECT_VARIABLE = "SLIPWAY_PREFECT_AUTHORIZATION"


def held(model: Model) -> HeldModel | None:
    """What the holder is told of a model; None for one that no request wakes. Pure."""
    if not model.scaling.scale_to_zero:
        return None
    return HeldModel(
        rate=model.load.offered_rate,
        slots=model.load.concurrency or model.engine.max_num_seqs,
        replicas=model.scaling.min_replicas,
        others=tuple(lora.name for lora in model.engine.lora),
    )


def held_models(all_routes: Mapping[str, str]) -> dict[str, HeldModel]:
    """The models of all routes that may sleep. Pure."""
    found = {
        name.removesuffix(".json"): json.loads(text)
        for name, text in all_routes.items()
        if name.endswith(".json")
    }
    return {name: HeldModel.model_validate(told["held"]) for name, told in found.items() if told.get("held")}


def check(environment: Environment) -> None:
    """Raises InputError where the environment cannot hold requests: no image, or a node group that nobody would resize."""
    if image_of(environment) is None:
        raise InputError(
            f"a model has scaling.scale_to_zero, and {environment.name} names no image for the holder",
            next_command=f"set gateway.holder.image in environments/{environment.name}.yaml to the Dockerfile's image by digest: "
            "docs/workers.md",
        )
    if environment.gateway.holder.wake == "scale" and not environment.cluster.gpu.uses_karpenter:
        raise InputError(
            f"a model has scaling.scale_to_zero, and the GPU nodes of {environment.name} are a node group, which pods do not "
            "make larger",
            next_command=f"set cluster.gpu.provisioner: karpenter in environments/{environment.name}.yaml, or "
            "gateway.holder.wake: flow with prefect_api_url",
        )


def image_of(environment: Environment) -> str | None:
    """The holder's image; None where the environment names none."""
    pod = environment.work_pool.pod
    return environment.gateway.holder.image or (pod.image if pod else None)


def documents(root: Path, environment: Environment, models: Mapping[str, HeldModel]) -> list[Document]:
    """In the order they are applied; none where no model may sleep. Raises InputError."""
    if not models:
        return []
    check(environment)
    made = {name: load(root, f"holder/{name}.yaml") for name in FILES}
    for document in made.values():
        document["metadata"]["namespace"] = environment.namespace
    made["rolebinding"]["subjects"][0]["namespace"] = environment.namespace
    for rule in made["role"]["rules"]:
        if "resourceNames" in rule:
            rule["resourceNames"] = [f"vllm-{name}" for name in sorted(models)]
    settings = settings_of(environment, models).model_dump_json(indent=1)
    made["configmap"]["data"] = {"settings.json": settings}
    made["networkpolicy"]["spec"]["egress"][1]["to"] = [
        {"ipBlock": {"cidr": cidr}} for cidr in environment.address_ranges
    ]
    if url := environment.gateway.holder.prefect_api_url:
        made["networkpolicy"]["spec"]["egress"].append({"ports": [{"protocol": "TCP", "port": _port(url)}]})
    _complete(made["deployment"], environment, settings)
    return [made[name] for name in FILES]


def settings_of(environment: Environment, models: Mapping[str, HeldModel]) -> HolderSettings:
    """What its program reads."""
    given = environment.gateway.holder
    return HolderSettings(
        environment=environment.name,
        namespace=environment.namespace,
        heartbeat=given.heartbeat,
        requests=given.requests,
        body_bytes=int(parse_quantity(given.body_memory)),
        longest=given.longest,
        ramp=given.ramp,
        prefect_api_url=given.prefect_api_url,
        models=dict(models),
    )


def wait_until_ready(cluster: Cluster, environment: Environment, time: Time = REAL) -> None:
    """Wait until the holder's Deployment is complete: without it a model that sleeps stays asleep.

    Raises RolloutFailed after `deadlines.pod_start`.
    """

    def late() -> RolloutFailed:
        return RolloutFailed(
            "the holder does not become ready: no request would wake a model that sleeps",
            evidence=words(cluster, environment),
            next_command=describe(environment.namespace),
        )

    until(lambda: is_ready(cluster, environment), environment.deadlines.pod_start, late, time)


def is_ready(cluster: Cluster, environment: Environment) -> bool:
    """Whether the holder runs as it was applied last."""
    return objects.is_complete(cluster.get("apps/v1", "Deployment", HOLDER, environment.namespace))


def words(cluster: Cluster, environment: Environment) -> tuple[str, ...]:
    """What the holder's pods last told: events, and the ends of their logs."""
    namespace = environment.namespace
    pods = cluster.list("v1", "Pod", namespace, label_selector=f"app={HOLDER}")
    said = [line for pod in pods for line in cluster.events(namespace, objects.name(pod))[-3:]]
    logs = [cluster.logs(namespace, objects.name(pod), tail=5) for pod in pods]
    return (*said, *(log for log in logs if log))


def describe(namespace: str) -> str:
    """The command that shows it."""
    return f"kubectl -n {namespace} describe deployment,pod -l app={HOLDER}"


def _port(url: str) -> int:
    """The port of Prefect's API, which may be anywhere."""
    address = urlsplit(url)
    return address.port or (443 if address.scheme == "https" else 80)


def _complete(workload: Document, environment: Environment, settings: str) -> None:
    given = environment.gateway.holder
    template = workload["spec"]["template"]
    digest = hashlib.sha256(settings.encode()).hexdigest()
    template["metadata"]["annotations"] = {"slipway.dev/configuration": digest[:16]}
    drain = math.ceil(environment.gateway.drain)
    template["spec"]["terminationGracePeriodSeconds"] = math.ceil(given.longest) + drain + 30
    [container] = template["spec"]["containers"]
    container["image"] = environment.pulled_as(str(image_of(environment)))
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = drain
    # a body is held twice for a moment: as it came, and parsed or on its way to a pod
    memory = f"{math.ceil((PROGRAM_BYTES + 2 * parse_quantity(given.body_memory)) / 2**20)}Mi"
    container["resources"] = {
        "requests": {"cpu": "100m", "memory": memory},
        "limits": {"memory": memory},
    }
    if given.prefect_secret:
        reference = {"name": given.prefect_secret, "key": "authorization"}
        container["env"].append({"name": PREFECT_VARIABLE, "valueFrom": {"secretKeyRef": reference}})

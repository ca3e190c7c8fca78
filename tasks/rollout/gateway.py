"""The one door: an NGINX that checks the API key and passes streams unbuffered."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.records.results import Endpoint
from tasks.rollout.manifests import KEY_SECRET, load

GATEWAY = "llm-gateway"
ROUTES = "gateway-models"
LOAD_BALANCER = "service.beta.kubernetes.io/aws-load-balancer"


def routes(root: Path, model: Model, environment: Environment) -> dict[str, str]:
    """One model's files beside the gateway's configuration, by name: its upstream and its location block."""
    files = {}
    for template, ending in (("upstream", "upstream"), ("route", "conf")):
        text = (root / f"k8s/gateway/{template}.conf").read_text()
        body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        body = body.replace("MODEL", model.name).replace("NAMESPACE", environment.namespace)
        files[f"{model.name}.{ending}"] = body
    return files


def documents(root: Path, environment: Environment, all_routes: dict[str, str]) -> list[dict[str, Any]]:
    """The gateway's documents but the routes and the key, in the order they are applied. Pure."""
    namespace = environment.namespace
    configuration, workload, service, policy = (
        load(root, f"gateway/{name}.yaml") for name in ("configmap", "deployment", "service", "networkpolicy")
    )
    for document in (configuration, workload, service, policy):
        document["metadata"]["namespace"] = namespace
    digest = hashlib.sha256(
        json.dumps([configuration["data"], all_routes], sort_keys=True).encode()
    ).hexdigest()
    workload["spec"]["replicas"] = environment.gateway.replicas
    template = workload["spec"]["template"]
    template["metadata"]["annotations"] = {"slipway.dev/configuration": digest[:16]}
    container = template["spec"]["containers"][0]
    container["image"] = environment.gateway.image
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = math.ceil(environment.gateway.drain)
    annotations = service["metadata"]["annotations"]
    annotations[f"{LOAD_BALANCER}-scheme"] = environment.gateway.scheme
    annotations[f"{LOAD_BALANCER}-internal"] = str(environment.gateway.scheme == "internal").lower()
    service["spec"]["ports"][0]["port"] = environment.gateway.port
    policy["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"] = environment.cluster.vpc_cidr
    return [configuration, policy, service, workload]


def ensure_key(cluster: Cluster, namespace: str) -> str:
    """The API key of this namespace, made once and kept in a Secret only. The value never leaves memory."""
    found = cluster.get("v1", "Secret", KEY_SECRET, namespace)
    if found:
        return read_key(cluster, namespace, KEY_SECRET)
    key = f"sk-{secrets.token_urlsafe(32)}"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEY_SECRET, "namespace": namespace},
            "type": "Opaque",
            "stringData": {"api-key": key, "clients.map": f'"Bearer {key}" 1;\n'},
        }
    )
    return read_key(cluster, namespace, KEY_SECRET)


def read_key(cluster: Cluster, namespace: str, secret: str) -> str:
    """The key's value out of its Secret. Raises RolloutFailed where the Secret or the entry is missing."""
    found = cluster.get("v1", "Secret", secret, namespace)
    if not found or "api-key" not in (found.get("data") or {}):
        raise RolloutFailed(
            f"the Secret {namespace}/{secret} with the API key is not there",
            next_command=f"kubectl -n {namespace} get secret {secret}",
        )
    return base64.b64decode(found["data"]["api-key"]).decode()


def apply_route(root: Path, cluster: Cluster, model: Model, environment: Environment) -> dict[str, str]:
    """Put this model's route beside the others (each owned by its own field manager); all routes now."""
    applied = cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": ROUTES, "namespace": environment.namespace},
            "data": routes(root, model, environment),
        },
        field_manager=f"slipway-{model.name}",
    )
    return dict(applied.get("data") or {})


def wait_until_open(
    cluster: Cluster,
    environment: Environment,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> str:
    """The gateway's base URL once its Deployment is complete and its load balancer has an address.

    Raises RolloutFailed at `deadline` (on `clock`).
    """
    namespace = environment.namespace
    while True:
        workload = cluster.get("apps/v1", "Deployment", GATEWAY, namespace) or {}
        service = cluster.get("v1", "Service", GATEWAY, namespace) or {}
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if is_complete(workload) and ingress:
            host = ingress[0].get("hostname") or ingress[0]["ip"]
            return f"http://{host}:{environment.gateway.port}"
        if clock() >= deadline:
            raise RolloutFailed(
                "the gateway did not open" + ("" if ingress else ": its load balancer has no address"),
                evidence=[
                    *cluster.events(namespace, GATEWAY)[-5:],
                    json.dumps((workload.get("status") or {}).get("conditions") or []),
                ],
                next_command=f"kubectl -n {namespace} describe deployment,service {GATEWAY}",
            )
        sleep(0.2)


def endpoint_of(
    cluster: Cluster,
    environment: Environment,
    model: Model,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> Endpoint:
    """The model's address through the gateway, once that is open. Raises RolloutFailed at `deadline`."""
    base = wait_until_open(cluster, environment, deadline=deadline, clock=clock, sleep=sleep)
    return Endpoint(
        base_url=f"{base}/{model.name}/v1",
        served_name=model.name,
        key_namespace=environment.namespace,
        key_secret=KEY_SECRET,
    )


def is_complete(workload: dict[str, Any]) -> bool:
    """A Deployment whose latest spec is fully rolled out and available."""
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    wanted = spec.get("replicas", 1)
    return bool(
        workload
        and status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )

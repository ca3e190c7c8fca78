"""The gateway, which checks API keys and passes streams unbuffered: NGINX, or LiteLLM. Its documents, routes, address."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.cloud import load_balancer, objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.aliases import aliases_of
from tasks.records.backends import why_not
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, InputError, RolloutFailed
from tasks.records.model import Model
from tasks.records.names import (
    CLIENTS_ANNOTATION,
    CLIENTS_SECRET,
    GATEWAY,
    KEY_ENTRY,
    KEY_SECRET,
    OWN_KEY_SECRET,
)
from tasks.records.results import Endpoint
from tasks.rollout import holder, litellm, traces
from tasks.rollout.manifests import let_scraped, load
from tasks.rollout.served_names import adapter_names, served_names

ROUTES = "gateway-models"
SCRIPTS = ("gate.js", "metrics.js")
HELD = "held.conf"  # of the routes to models that may sleep
ENGINE_CONF = "engine.conf"  # of the Secret of vLLM's key: how NGINX shows it


def routes(root: Path, model: Model, environment: Environment) -> dict[str, str]:
    """One model's files by name: NGINX's upstream and locations, and its aliases."""
    files = {}
    told = holder.held(model)
    kind = ".held" if told else ""
    for template, ending in (("upstream", "upstream"), ("route", "conf")):
        text = (root / f"k8s/gateway/{template}{kind}.conf").read_text()
        body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        body = body.replace("MODEL", model.name).replace("NAMESPACE", environment.namespace)
        files[f"{model.name}.{ending}"] = body
    described: dict[str, Any] = {"aliases": aliases_of(model, environment)}
    if adapters := sorted(lora.name for lora in model.engine.lora):
        described["adapters"] = adapters
    if told:
        described["held"] = told.model_dump()
    files[f"{model.name}.json"] = json.dumps(described)
    return files


def check_aliases(cluster: Cluster, model: Model, environment: Environment) -> None:
    """Raises InputError where what serves already has an alias of the model: its file may have changed since."""
    there = cluster.get("v1", "ConfigMap", ROUTES, environment.namespace) or {}
    others = served_names(
        {name: text for name, text in (there.get("data") or {}).items() if name != f"{model.name}.json"}
    )
    adapters = (lora.name for lora in model.engine.lora)
    for alias in (model.name, *aliases_of(model, environment), *adapters):
        if alias in others:
            raise InputError(
                f"{alias} leads to {others[alias]} in {environment.name}",
                evidence=[f"{others[alias]} was rolled out with it: nothing was moved"],
                next_command=f"slipway deploy {others[alias]} -e {environment.name}, once its file does not have it",
            )


def check_backend(cluster: Cluster, model: Model, environment: Environment) -> None:
    """Raises InputError where the environment's back end cannot serve the model, or another that is served beside it."""
    why = why_not(model, environment)
    there = cluster.get("v1", "ConfigMap", ROUTES, environment.namespace) or {}
    others = {name for name in holder.held_models(there.get("data") or {}) if name != model.name}
    if not why and others and environment.gateway.backend == "litellm":
        why = f"LiteLLM holds no request for a model that sleeps, and {min(others)} was rolled out with scale_to_zero"
    if why:
        raise InputError(
            why,
            evidence=["nothing was moved"],
            next_command=f"set gateway.backend: nginx in environments/{environment.name}.yaml",
        )


def check_load_balancer(cluster: Cluster, environment: Environment) -> None:
    """Raises InputError where the Service that is there cannot become what the environment asks for."""
    load_balancer.check_kept(cluster.get("v1", "Service", GATEWAY, environment.namespace), environment)


def route(root: Path, model: Model, environment: Environment) -> dict[str, Any]:
    """The ConfigMap of routes as far as it is this model's."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ROUTES, "namespace": environment.namespace},
        "data": routes(root, model, environment),
    }


def documents(
    root: Path, environment: Environment, all_routes: dict[str, str], keys: str = ""
) -> list[dict[str, Any]]:
    """The gateway's documents without routes and Secrets, in the order they are applied. Pure but for files.

    `keys`: digest of the clients' keys, which the keys' own stage changes too.
    """
    namespace = environment.namespace
    service, policy, monitor = (
        load(root, f"gateway/{name}.yaml") for name in ("service", "networkpolicy", "podmonitor")
    )
    make = litellm.workload if environment.gateway.backend == "litellm" else _nginx
    configuration, workload = make(root, environment, all_routes)
    for document in (configuration, workload, service, policy, monitor):
        document["metadata"]["namespace"] = namespace
    let_scraped(environment, policy["spec"]["ingress"][-1], monitor)
    digest = hashlib.sha256(
        json.dumps([configuration["data"], all_routes], sort_keys=True).encode()
    ).hexdigest()
    workload["spec"]["replicas"] = environment.gateway.replicas
    template = workload["spec"]["template"]
    template["metadata"]["annotations"] = {"slipway.dev/configuration": digest[:16], CLIENTS_ANNOTATION: keys}
    container = template["spec"]["containers"][0]
    container["image"] = environment.pulled_as(environment.gateway.image)
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = math.ceil(environment.gateway.drain)
    load_balancer.complete(service, environment)
    policy["spec"]["ingress"][0]["from"] = [
        {"ipBlock": {"cidr": cidr}} for cidr in environment.address_ranges
    ]
    return [configuration, policy, service, monitor, workload]


def _nginx(
    root: Path, environment: Environment, all_routes: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """NGINX's ConfigMap and Deployment. The routes are in a ConfigMap of their own."""
    configuration = load(root, "gateway/configmap.yaml")
    configuration["data"] |= {
        **{script: (root / "k8s/gateway" / script).read_text() for script in SCRIPTS},
        "tracing.conf": traces.nginx(environment.tracing),
        "models.json": json.dumps(served_names(all_routes), sort_keys=True),
        "adapters.json": json.dumps(dict.fromkeys(adapter_names(all_routes), True)),
    }
    if holder.held_models(all_routes):
        configuration["data"][HELD] = (root / "k8s/gateway" / HELD).read_text()
    return configuration, load(root, "gateway/deployment.yaml")


def ensure_engine_key(cluster: Cluster, namespace: str) -> None:
    """The key between gateway and vLLM, made once and stored in its Secret only: no client has it."""
    found = cluster.get("v1", "Secret", KEY_SECRET, namespace)
    data = (found or {}).get("data") or {}
    if ENGINE_CONF in data:
        return
    # one of before keys had names is kept: vLLM's pods have it
    key = objects.read_key(cluster, namespace, KEY_SECRET) if found else f"sk-{secrets.token_urlsafe(32)}"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEY_SECRET, "namespace": namespace},
            "type": "Opaque",
            "stringData": {
                KEY_ENTRY: key,
                ENGINE_CONF: f'proxy_set_header Authorization "Bearer {key}";\n',
            },
        }
    )


def keys_digest(cluster: Cluster, namespace: str) -> str:
    """The digest of the clients' keys that are in the namespace. Raises ClusterError where there are none."""
    found = cluster.get("v1", "Secret", CLIENTS_SECRET, namespace)
    if found is None:
        raise ClusterError(
            f"the Secret {namespace}/{CLIENTS_SECRET} with the keys of the gateway is not there",
            next_command="slipway deploy, which brings it",
        )
    return objects.annotations(found).get(CLIENTS_ANNOTATION, "")


def apply_route(root: Path, cluster: Cluster, model: Model, environment: Environment) -> dict[str, str]:
    """Add this model's route to the others, each owned by its own field manager; all routes now."""
    applied = cluster.apply(route(root, model, environment), field_manager=f"slipway-{model.name}")
    return dict(applied.get("data") or {})


def wait_until_open(cluster: Cluster, environment: Environment, *, seconds: float, time: Time = REAL) -> str:
    """Wait until the gateway's Deployment is complete and its load balancer has an address; that name or address.

    Raises RolloutFailed.
    """
    namespace = environment.namespace

    def look() -> str | None:
        host = load_balancer.host_of(cluster.get("v1", "Service", GATEWAY, namespace))
        complete = objects.is_complete(cluster.get("apps/v1", "Deployment", GATEWAY, namespace))
        return host if complete else None

    def late() -> RolloutFailed:
        host = load_balancer.host_of(cluster.get("v1", "Service", GATEWAY, namespace))
        workload = cluster.get("apps/v1", "Deployment", GATEWAY, namespace)
        return RolloutFailed(
            "the gateway did not open" + ("" if host else ": its load balancer has no address"),
            evidence=[
                *cluster.events(namespace, GATEWAY)[-5:],
                json.dumps(objects.status(workload).get("conditions") or []),
            ],
            next_command=f"kubectl -n {namespace} describe deployment,service {GATEWAY}",
        )

    return until(look, seconds, late, time)


def endpoint_of(
    cluster: Cluster, environment: Environment, model: Model, *, seconds: float, time: Time = REAL
) -> Endpoint:
    """The model's address through the gateway, once that is open. Raises RolloutFailed after `seconds`."""
    host = wait_until_open(cluster, environment, seconds=seconds, time=time)
    return Endpoint(
        base_url=f"{load_balancer.base_url(environment, host)}/{model.name}/v1",
        connect_to=host if environment.gateway.tls else "",
        served_name=model.name,
        key_namespace=environment.namespace,
        route=model.route,
        key_secret=OWN_KEY_SECRET,
    )

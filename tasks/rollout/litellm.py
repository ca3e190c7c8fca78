"""LiteLLM as the gateway's back end: its ConfigMap and Deployment. Pure but for files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.records.environment import Environment
from tasks.records.names import VLLM_PORT
from tasks.rollout.manifests import load
from tasks.rollout.served_names import adapter_names, served_names

FOLDER = "k8s/gateway/litellm"
MODULES = ("front.py", "auth.py")


def workload(
    root: Path, environment: Environment, all_routes: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the Deployment, which reads the same Secret of hashed keys as NGINX's."""
    served = served_names(all_routes)
    data = {name: (root / FOLDER / name).read_text() for name in MODULES}
    data["models.json"] = json.dumps({"models": served}, sort_keys=True)
    data["config.yaml"] = yaml.safe_dump(configuration(root, environment, all_routes), sort_keys=False)
    deployment = load(root, "gateway/litellm/deployment.yaml")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [paths] = [one for one in container["env"] if one["name"] == "SERVER_ROOT_PATHS"]
    paths["value"] = ",".join(f"/{name}" for name in sorted(set(served.values())))
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        # beside NGINX's, which its pods may still read
        "metadata": {"name": "gateway-litellm", "labels": {"app": "llm-gateway"}},
        "data": data,
    }
    return document, deployment


def configuration(root: Path, environment: Environment, all_routes: Mapping[str, str]) -> dict[str, Any]:
    """LiteLLM's config.yaml: a deployment for each model and adapter, and the aliases."""
    found: dict[str, Any] = yaml.safe_load((root / FOLDER / "config.yml").read_text())
    served, adapters = served_names(all_routes), adapter_names(all_routes)
    own = sorted({*served.values(), *adapters})
    found["model_list"] = [_deployment(name, served[name], environment) for name in own]
    found["router_settings"]["model_group_alias"] = {
        name: model for name, model in sorted(served.items()) if name not in own
    }
    return found


def _deployment(name: str, model: str, environment: Environment) -> dict[str, Any]:
    """https://docs.litellm.ai/docs/providers/vllm: `hosted_vllm/` passes on what OpenAI's API does not know."""
    host = f"vllm-{model}.{environment.namespace}.svc.cluster.local"
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"hosted_vllm/{name}",
            "api_base": f"http://{host}:{VLLM_PORT}/v1",
            "api_key": "os.environ/SLIPWAY_ENGINE_KEY",
            # a connection for each request: one kept open leads to a pod that has left the Service
            "extra_headers": {"Connection": "close"},
        },
    }

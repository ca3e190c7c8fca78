"""Complete the base job template of a Kubernetes work pool with the pod that an environment's file describes. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from tasks.records.work_pool import RunPod

FILE = "k8s/prefect/base-job-template.yaml"


def completed(template: str, pod: RunPod) -> dict[str, Any]:
    """The base job template as Prefect takes it. Raises KeyError for a name in capitals that stands for nothing."""
    values = {name.upper(): value for name, value in pod.model_dump().items()}
    found: dict[str, Any] = _filled(yaml.safe_load(template), values)
    return found


def _filled(node: Any, values: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    if isinstance(node, str) and node != "ALL" and node.replace("_", "").isalpha() and node.isupper():
        return values[node]
    return node

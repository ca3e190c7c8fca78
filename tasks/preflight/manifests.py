"""Do the documents agree with the nodes they must run on? Pure checks, before anything is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.records.environment import Environment
from tasks.records.gpu_nodes import Taint

Document = Mapping[str, Any]


def disagreements(documents: Sequence[Document], environment: Environment) -> list[str]:
    """What would keep a GPU pod from ever being scheduled, or should never be in a manifest."""
    gpu = environment.cluster.gpu
    labels = {gpu.label_key: gpu.label_value}
    found: list[str] = []
    for document in documents:
        pod = ((document.get("spec") or {}).get("template") or {}).get("spec")
        if not pod:
            continue
        name = f"{document['kind']} {document['metadata']['name']}"
        if _asks_for_gpu(pod):
            found += [f"{name}: {problem}" for problem in placement(pod, labels, gpu.taint)]
        found += [f"{name}: {problem}" for problem in hygiene(pod)]
    return found


def placement(pod: Document, labels: Mapping[str, str], taint: Taint) -> list[str]:
    """Selector against the node's labels, tolerations against its taint."""
    selector = pod.get("nodeSelector") or {}
    problems = [
        f"nodeSelector {key}={value} matches no GPU node (they have {labels})"
        for key, value in selector.items()
        if labels.get(key) != value
    ]
    if not selector:
        problems.append(f"no nodeSelector: it must ask for {labels}")
    if not any(tolerates(toleration, taint) for toleration in pod.get("tolerations") or ()):
        problems.append(f"the taint {taint.key}={taint.value}:{taint.effect} is not tolerated")
    return problems


def tolerates(toleration: Document, taint: Taint) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint.key)
    return toleration.get("key") == taint.key and toleration.get("value", "") == taint.value


def hygiene(pod: Document) -> list[str]:
    """A hub token in a serving pod, a literal secret, or a load that a liveness probe may kill."""
    problems = []
    for container in pod.get("containers") or ():
        for variable in container.get("env") or ():
            name = str(variable.get("name", ""))
            if name in {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}:
                problems.append(f"{name} must not reach a serving pod: it runs on staged weights")
            if "value" in variable and {"KEY", "TOKEN", "SECRET", "PASSWORD"} & set(name.split("_")):
                problems.append(f"{name} is written out; take it from a Secret")
        loads = "nvidia.com/gpu" in ((container.get("resources") or {}).get("limits") or {})
        if loads and "livenessProbe" in container and "startupProbe" not in container:
            problems.append("a livenessProbe without a startupProbe kills a load in progress")
    return problems


def _asks_for_gpu(pod: Document) -> bool:
    return any(
        "nvidia.com/gpu" in ((container.get("resources") or {}).get("limits") or {})
        for container in pod.get("containers") or ()
    )

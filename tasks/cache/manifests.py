"""The documents of k8s/cache/, completed from records. No template language: YAML is loaded and fields are set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.cache.volume import Volume
from tasks.spec.catalogue import project_root
from tasks.spec.environment import Environment
from tasks.spec.model import Model
from tasks.spec.records import StagedModel

Object = dict[str, Any]
WARM, WARM_MANIFEST, WARM_BYTES = (
    "slipway.dev/warm",
    "slipway.dev/warm-manifest",
    "slipway.dev/warm-bytes",
)
MANIFEST = "slipway.dev/manifest"
SCRIPT_CONFIG_MAP = "model-cache-warm"
CONTAINER = "warm"


def claim_name(model: Model) -> str:
    return f"model-cache-{model.name}"


def job_name(model: Model, commit: str) -> str:
    """At most 58 characters: a job's name is a label value of its pods, of 63 at most."""
    return f"warm-{model.name}-{commit[:12]}"


def folder_of(repo: str, commit: str) -> str:
    """Where a commit is below the volume's root; vLLM is started with --model=/models/ and this."""
    return f"{repo.replace('/', '--')}/{commit}"


def load(name: str, folder: Path | None = None) -> Object:
    """One document of k8s/cache/."""
    path = (folder or project_root() / "k8s" / "cache") / f"{name}.yaml"
    document: Object = yaml.safe_load(path.read_text())
    return document


def storage_class(volume: Volume, environment: Environment, folder: Path | None = None) -> Object:
    """The tag is what a teardown finds retained volumes by, long after their claims and cluster are gone."""
    document = load("storageclass", folder)
    document["metadata"]["name"] = volume.storage_class
    document["parameters"] |= {
        "iops": str(volume.iops),
        "throughput": str(volume.throughput),
        "tagSpecification_1": f"slipway:environment={environment.name}",
    }
    return document


def claim(model: Model, environment: Environment, volume: Volume, folder: Path | None = None) -> Object:
    document = load("claim", folder)
    document["metadata"] |= {"name": claim_name(model), "namespace": environment.namespace}
    document["metadata"]["labels"]["model"] = model.name
    document["spec"]["storageClassName"] = volume.storage_class
    document["spec"]["resources"]["requests"]["storage"] = f"{volume.size_gib}Gi"
    return document


def for_namespace(environment: Environment, folder: Path | None = None) -> list[Object]:
    """What every warming in a namespace shares: its account, its policy, the script."""
    documents = [load("serviceaccount", folder), load("networkpolicy", folder)]
    for document in documents:
        document["metadata"]["namespace"] = environment.namespace
    script = Path(__file__).with_name("warm.py").read_text()
    documents.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": SCRIPT_CONFIG_MAP,
                "namespace": environment.namespace,
                "labels": {"app": "model-cache"},
            },
            "data": {"warm.py": script},
        }
    )
    return documents


def job(
    staged: StagedModel,
    model: Model,
    environment: Environment,
    *,
    region: str,
    keep: Sequence[str],
    node: str | None,
    seconds: float,
    folder: Path | None = None,
) -> Object:
    """The warm job. `keep`: commits that stay on the volume; `node`: where it must run, None for any GPU node;
    `seconds`: its longest time."""
    document = load("job", folder)
    metadata, spec = document["metadata"], document["spec"]
    metadata |= {
        "name": job_name(model, staged.commit),
        "namespace": environment.namespace,
        "annotations": {MANIFEST: staged.manifest_sha256},
    }
    spec["activeDeadlineSeconds"] = int(seconds)
    for labelled in (metadata, spec["template"]["metadata"]):
        labelled["labels"]["model"] = model.name
    pod = spec["template"]["spec"]
    gpu = environment.cluster.gpu
    pod["nodeSelector"] = {gpu.label_key: gpu.label_value}
    if node:
        pod["nodeSelector"]["kubernetes.io/hostname"] = node
    pod["tolerations"] = [
        {"key": gpu.taint.key, "operator": "Equal", "value": gpu.taint.value, "effect": gpu.taint.effect}
    ]
    container = pod["containers"][0]
    container["image"] = model.engine.image
    container["args"] = [
        f"--bucket={staged.bucket}",
        f"--prefix={staged.prefix}",
        f"--repo={staged.repo}",
        f"--commit={staged.commit}",
        f"--manifest-sha256={staged.manifest_sha256}",
        "--root=/models",
        f"--keep={','.join(keep)}",
    ]
    container["env"][0]["value"] = region
    pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim_name(model)
    return document

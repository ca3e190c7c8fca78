"""The documents of k8s/cache/, completed from records. No template language: YAML is loaded and fields are set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.cache.exits import exits
from tasks.cache.kept import KeptSnapshot, KeptVolume
from tasks.cache.volume import Volume
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.model import Cache, Model
from tasks.records.results import StagedModel

Object = dict[str, Any]
WARM, WARM_MANIFEST = "slipway.dev/warm", "slipway.dev/warm-manifest"
HELD = "slipway.dev/held"  # every commit on the volume and its bytes, as JSON
MANIFEST = "slipway.dev/manifest"
REPO = "slipway.dev/repo"
COMMIT_LABEL = "slipway.dev/commit"
WARMER = "model-cache-warm"
CONTAINER = "warm"


def claim_name(model: Model) -> str:
    return f"model-cache-{model.name}"


def job_name(model: Model, commit: str) -> str:
    """At most 58 characters: a job's name is a label value of its pods, of 63 at most."""
    return f"warm-{model.name}-{commit[:12]}"


def snapshot_name(model: Model, commit: str, manifest: str) -> str:
    """Another choice of files of the same commit is another snapshot. `manifest`: its sha256."""
    return f"{claim_name(model)}-{commit[:12]}-{manifest[:8]}"


def labels_of(model: Model) -> str:
    """The selector of everything warming makes for a model."""
    return f"app=model-cache,model={model.name}"


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
    return _class("storageclass", volume.storage_class, volume, environment, folder)


def restored_class(
    volume: Volume, cache: Cache, environment: Environment, folder: Path | None = None
) -> Object:
    """The class of a claim that is made of a snapshot: retained as any, its blocks there as `cache.restore` says."""
    return _initialized(storage_class(volume, environment, folder), cache)


def classes_of(volume: Volume, cache: Cache) -> tuple[str, str]:
    """Names of the classes a claim made now would get: empty, and of a snapshot."""
    rate = f"-init{cache.initialization_rate}" if cache.restore == "initialization-rate" else ""
    return volume.storage_class, f"{volume.storage_class}{rate}"


def clone_class(volume: Volume, cache: Cache, environment: Environment, folder: Path | None = None) -> Object:
    """The class of the replicas' clones: as fast as the volume they are of, and gone with their pods."""
    return _initialized(_class("storageclass-clone", volume.clone_class, volume, environment, folder), cache)


def _initialized(document: Object, cache: Cache) -> Object:
    if cache.restore == "initialization-rate":
        document["metadata"]["name"] += f"-init{cache.initialization_rate}"
        document["parameters"]["volumeInitializationRate"] = str(cache.initialization_rate)
    return document


def _class(template: str, name: str, volume: Volume, environment: Environment, folder: Path | None) -> Object:
    document = load(template, folder)
    document["metadata"]["name"] = name
    document["parameters"] |= {
        "iops": str(volume.iops),
        "throughput": str(volume.throughput),
        "tagSpecification_1": f"slipway:environment={environment.name}",
    }
    return document


def snapshot(
    staged: StagedModel,
    model: Model,
    environment: Environment,
    fast_zones: Sequence[str] = (),
    folder: Path | None = None,
) -> list[Object]:
    """The class of the snapshot, with the tags its EC2 snapshot gets, and the snapshot, in the order they are applied.
    `fast_zones`: where its fast restore is switched on."""
    name = snapshot_name(model, staged.commit, staged.manifest_sha256)
    its_class, taken = load("volumesnapshotclass", folder), load("volumesnapshot", folder)
    for document in (its_class, taken):
        document["metadata"]["name"] = name
        document["metadata"]["labels"] |= {"model": model.name, COMMIT_LABEL: staged.commit}
    its_class["parameters"] |= {
        "tagSpecification_1": f"slipway:environment={environment.name}",
        "tagSpecification_2": f"slipway:model={model.name}",
        "tagSpecification_3": f"slipway:repo={staged.repo}",
        "tagSpecification_4": f"slipway:commit={staged.commit}",
        "tagSpecification_5": f"slipway:manifest={staged.manifest_sha256}",
    }
    notes = {REPO: staged.repo, MANIFEST: staged.manifest_sha256}
    if fast_zones:
        its_class["parameters"]["fastSnapshotRestoreAvailabilityZones"] = ",".join(fast_zones)
    taken["metadata"] |= {"namespace": environment.namespace, "annotations": notes}
    taken["spec"]["volumeSnapshotClassName"] = name
    taken["spec"]["source"]["persistentVolumeClaimName"] = claim_name(model)
    return [its_class, taken]


def kept_snapshot(
    kept: KeptSnapshot, model: Model, environment: Environment, folder: Path | None = None
) -> list[Object]:
    """An EC2 snapshot of an earlier cluster as this one knows it: its content, and the snapshot bound to it."""
    name = snapshot_name(model, kept.commit, kept.manifest)
    content, snapshot = load("volumesnapshotcontent", folder), load("volumesnapshot", folder)
    for document in (content, snapshot):
        document["metadata"]["name"] = name
        document["metadata"]["labels"] |= {"model": model.name, COMMIT_LABEL: kept.commit}
    content["spec"]["source"]["snapshotHandle"] = kept.identity
    content["spec"]["volumeSnapshotRef"] |= {"namespace": environment.namespace, "name": name}
    notes = {REPO: kept.repo, MANIFEST: kept.manifest}
    snapshot["metadata"] |= {"namespace": environment.namespace, "annotations": notes}
    snapshot["spec"] = {"source": {"volumeSnapshotContentName": name}}
    return [content, snapshot]


def claim(model: Model, environment: Environment, volume: Volume, folder: Path | None = None) -> Object:
    document = load("claim", folder)
    document["metadata"] |= {"name": claim_name(model), "namespace": environment.namespace}
    document["metadata"]["labels"]["model"] = model.name
    document["spec"]["storageClassName"] = volume.storage_class
    document["spec"]["resources"]["requests"]["storage"] = f"{volume.size_gib}Gi"
    return document


def restored_claim(claim: Object, of: str, least_gib: int, its_class: Object) -> Object:
    """`claim` as one that is made of the VolumeSnapshot `of`, which is of a volume of `least_gib` GiB."""
    spec = claim["spec"]
    asked = max(least_gib, int(str(spec["resources"]["requests"]["storage"]).removesuffix("Gi")))
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": of}
    spec |= {"storageClassName": its_class["metadata"]["name"], "dataSource": source}
    spec["resources"] = {"requests": {"storage": f"{asked}Gi"}}
    return claim


def kept_volume(
    kept: KeptVolume, model: Model, environment: Environment, volume: Volume, folder: Path | None = None
) -> Object:
    """The PersistentVolume of a volume that outlived its cluster, promised to the model's claim."""
    document = load("persistentvolume", folder)
    document["metadata"]["name"] = f"kept-{kept.identity}"
    spec = document["spec"]
    spec["storageClassName"] = volume.storage_class
    spec["capacity"]["storage"] = f"{kept.gib}Gi"
    spec["claimRef"] |= {"namespace": environment.namespace, "name": claim_name(model)}
    spec["csi"]["volumeHandle"] = kept.identity
    terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    terms[0]["matchExpressions"][0]["values"] = [kept.zone]
    return document


def for_namespace(environment: Environment, folder: Path | None = None) -> list[Object]:
    """What every warming in a namespace shares: its account, its policy, its program."""
    documents = [load("serviceaccount", folder), load("networkpolicy", folder)]
    for document in documents:
        document["metadata"]["namespace"] = environment.namespace
    warmer = (folder or project_root() / "k8s" / "cache") / "warmer"
    documents.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": WARMER,
                "namespace": environment.namespace,
                "labels": {"app": "model-cache"},
            },
            "data": {path.name: path.read_text() for path in sorted(warmer.glob("*.py"))},
        }
    )
    return documents


def job(
    staged: StagedModel,
    model: Model,
    environment: Environment,
    *,
    region: str,
    needed: Sequence[str],
    node: str | None,
    seconds: float,
    grow_seconds: float = 0.0,
    folder: Path | None = None,
) -> Object:
    """The warm job. `needed`: commits that are never removed from the volume; `node`: where it must run, None for any
    GPU node; `seconds`: its longest time; `grow_seconds`: how long a file system that is being grown is waited for."""
    document = load("job", folder)
    metadata, spec = document["metadata"], document["spec"]
    metadata |= {
        "name": job_name(model, staged.commit),
        "namespace": environment.namespace,
        "annotations": {MANIFEST: staged.manifest_sha256},
    }
    spec["activeDeadlineSeconds"] = int(seconds)
    [rule] = spec["podFailurePolicy"]["rules"]
    rule["onExitCodes"]["values"] = sorted(exits().permanent)
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
        f"--needed={','.join(needed)}",
        f"--spare={model.cache.keep}",
        f"--grow-seconds={grow_seconds:g}",
    ]
    container["env"][0]["value"] = region
    pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim_name(model)
    return document

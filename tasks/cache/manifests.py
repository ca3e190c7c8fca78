"""The documents of k8s/cache/, completed from records. No template language: YAML is loaded and fields are set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.cache.context import MANIFEST, job_name, snapshot_name
from tasks.cache.exits import exits
from tasks.cache.kept import KeptSnapshot, KeptVolume
from tasks.cache.volume import Volume
from tasks.records import names
from tasks.records.cache import Cache
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import StagedModel

Object = dict[str, Any]
WARMER = "model-cache-warm"  # the ConfigMap with the job's program


def folder() -> Path:
    return project_root() / "k8s" / "cache"


def load(name: str) -> Object:
    """One document of k8s/cache/."""
    document: Object = yaml.safe_load((folder() / f"{name}.yaml").read_text())
    return document


def storage_class(
    environment: Environment, volume: Volume, kind: Literal["retain", "clone"], rate: int | None = None
) -> Object:
    """The class of the warmed volume, retained and found by its tag after claims and cluster are gone; or of its clones,
    deleted with their pods. `rate`: MiB/s its blocks are initialized at from a snapshot; None: as they are read."""
    document = load(f"storageclass-{kind}")
    document["metadata"]["name"] = volume.class_name(kind, rate)
    document["parameters"] |= {
        "iops": str(volume.iops),
        "throughput": str(volume.throughput),
        "tagSpecification_1": f"{names.ENVIRONMENT_TAG}={environment.name}",
    }
    if rate:
        document["parameters"]["volumeInitializationRate"] = str(rate)
    return document


def initialization_rate(cache: Cache) -> int | None:
    """MiB/s that volumes restored from a snapshot are initialized at, where the model's file asks for it."""
    return cache.initialization_rate if cache.restore == "initialization-rate" else None


def empty_claim(environment: Environment, model: Model, volume: Volume) -> list[Object]:
    """A class and a claim on a new volume, in the order they are applied; so for the next two."""
    its_class = storage_class(environment, volume, "retain")
    return [its_class, _claim(environment, model, its_class, volume.size_gib)]


def claim_on_volume(environment: Environment, model: Model, volume: Volume, kept: KeptVolume) -> list[Object]:
    """A claim on a retained EBS volume, with its class and PersistentVolume."""
    its_class, persistent = storage_class(environment, volume, "retain"), load("persistentvolume")
    persistent["metadata"]["name"] = f"kept-{kept.identity}"
    spec = persistent["spec"]
    spec["storageClassName"] = its_class["metadata"]["name"]
    spec["capacity"]["storage"] = f"{kept.gib}Gi"
    spec["claimRef"] |= {"namespace": environment.namespace, "name": names.cache_claim(model)}
    spec["csi"]["volumeHandle"] = kept.identity
    terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    terms[0]["matchExpressions"][0]["values"] = [kept.zone]
    claim = _claim(environment, model, its_class, kept.gib)
    claim["spec"]["volumeName"] = persistent["metadata"]["name"]
    return [its_class, persistent, claim]


def claim_of_snapshot(
    environment: Environment, model: Model, volume: Volume, kept: KeptSnapshot
) -> list[Object]:
    """A claim restored from a snapshot the cluster knows, with its class; at least as large as the snapshot's volume."""
    its_class = storage_class(environment, volume, "retain", initialization_rate(model.cache))
    claim = _claim(environment, model, its_class, max(kept.gib, volume.size_gib))
    claim["spec"]["dataSource"] = {
        "apiGroup": "snapshot.storage.k8s.io",
        "kind": "VolumeSnapshot",
        "name": snapshot_name(model, kept.commit, kept.manifest),
    }
    return [its_class, claim]


def _claim(environment: Environment, model: Model, its_class: Object, gib: int) -> Object:
    document = load("claim")
    document["metadata"] |= {"name": names.cache_claim(model), "namespace": environment.namespace}
    document["metadata"]["labels"]["model"] = model.name
    document["spec"]["storageClassName"] = its_class["metadata"]["name"]
    document["spec"]["resources"]["requests"]["storage"] = f"{gib}Gi"
    return document


def snapshot(
    environment: Environment, model: Model, staged: StagedModel, fast_zones: Sequence[str] = ()
) -> list[Object]:
    """A snapshot and its class, which has the EC2 snapshot's tags. `fast_zones`: where fast restore is switched on."""
    name = snapshot_name(model, staged.commit, staged.digest)
    its_class = _labelled(load("volumesnapshotclass"), name, model, staged.commit)
    tags = {
        names.ENVIRONMENT_TAG: environment.name,
        names.MODEL_TAG: model.name,
        names.REPO_TAG: staged.repo,
        names.COMMIT_TAG: staged.commit,
        names.MANIFEST_TAG: staged.digest,
    }
    for number, (key, value) in enumerate(tags.items(), start=1):
        its_class["parameters"][f"tagSpecification_{number}"] = f"{key}={value}"
    if fast_zones:
        its_class["parameters"]["fastSnapshotRestoreAvailabilityZones"] = ",".join(fast_zones)
    document = _snapshot(environment, model, staged.repo, staged.commit, staged.digest)
    document["spec"]["volumeSnapshotClassName"] = name
    document["spec"]["source"]["persistentVolumeClaimName"] = names.cache_claim(model)
    return [its_class, document]


def kept_snapshot(environment: Environment, model: Model, kept: KeptSnapshot) -> list[Object]:
    """An EC2 snapshot of an earlier cluster as this one knows it: its content, and the snapshot bound to it."""
    name = snapshot_name(model, kept.commit, kept.manifest)
    content = _labelled(load("volumesnapshotcontent"), name, model, kept.commit)
    content["spec"]["source"]["snapshotHandle"] = kept.identity
    content["spec"]["volumeSnapshotRef"] |= {"namespace": environment.namespace, "name": name}
    document = _snapshot(environment, model, kept.repo, kept.commit, kept.manifest)
    document["spec"] = {"source": {"volumeSnapshotContentName": name}}
    return [content, document]


def _snapshot(environment: Environment, model: Model, repo: str, commit: str, manifest: str) -> Object:
    name = snapshot_name(model, commit, manifest)
    document = _labelled(load("volumesnapshot"), name, model, commit)
    notes = {names.REPO_KEY: repo, MANIFEST: manifest}
    document["metadata"] |= {"namespace": environment.namespace, "annotations": notes}
    return document


def _labelled(document: Object, name: str, model: Model, commit: str) -> Object:
    document["metadata"]["name"] = name
    document["metadata"]["labels"] |= {"model": model.name, names.COMMIT_KEY: commit}
    return document


def for_namespace(environment: Environment) -> list[Object]:
    """What every warm job in a namespace shares: its account, its network policy, its program."""
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": WARMER, "labels": {"app": names.CACHE}},
        "data": {path.name: path.read_text() for path in sorted((folder() / "warmer").glob("*.py"))},
    }
    documents = [load("serviceaccount"), load("networkpolicy"), program]
    for document in documents:
        document["metadata"]["namespace"] = environment.namespace
    return documents


def job(
    environment: Environment,
    model: Model,
    staged: StagedModel,
    *,
    needed: Sequence[str],
    node: str | None,
    seconds: float,
    grow_seconds: float = 0.0,
) -> Object:
    """The warm job. `needed`: commits it never evicts; `node`: where it must run, None for any GPU node; `seconds`: its
    deadline; `grow_seconds`: how long it waits for a file system that is being grown."""
    document = load("job")
    metadata, spec = document["metadata"], document["spec"]
    metadata |= {
        "name": job_name(model, staged.commit),
        "namespace": environment.namespace,
        "annotations": {MANIFEST: staged.digest},
    }
    spec["activeDeadlineSeconds"] = int(seconds)
    [rule] = spec["podFailurePolicy"]["rules"]
    rule["onExitCodes"]["values"] = sorted(exits().permanent)
    for labelled in (metadata, spec["template"]["metadata"]):
        labelled["labels"]["model"] = model.name
    pod = spec["template"]["spec"]
    gpu = environment.cluster.gpu
    pod["nodeSelector"] = gpu.node_selector | ({"kubernetes.io/hostname": node} if node else {})
    pod["tolerations"] = [gpu.taint.toleration]
    [container] = pod["containers"]
    container["image"] = environment.pulled_as(model.engine.image)
    container["args"] = [
        f"--bucket={staged.bucket}",
        f"--bucket-owner={staged.account}",
        f"--prefix={staged.prefix}",
        f"--repo={staged.repo}",
        f"--commit={staged.commit}",
        f"--manifest-sha256={staged.manifest_sha256}",
        "--root=/models",
        f"--needed={','.join(needed)}",
        f"--spare={model.cache.keep}",
        f"--grow-seconds={grow_seconds:g}",
        *(
            f"--adapter={part.repo},{part.commit},{part.prefix},{part.manifest_sha256}"
            for part in staged.adapters
        ),
    ]
    container["env"][0]["value"] = environment.region
    pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = names.cache_claim(model)
    return document

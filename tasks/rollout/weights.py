"""Where serving pods read the weights: the model's one cache claim, or a clone of its snapshot for each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.cloud.kubernetes import Object
from tasks.records import names
from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.records.results import HubInspection, StagedModel, WarmCache


@dataclass(frozen=True)
class Weights:
    """The weights of one commit, as a release serves them.

    Args:
        path: below the volume's root.
        size: bytes of the weights, which a start must read.
        snapshot: the VolumeSnapshot that replicas clone; None where there is none.
        clone_class: StorageClass of the clones.
        clone_size: of a clone, as a Kubernetes quantity.
        address: where they are streamed from, s3://BUCKET/PREFIX; empty where a volume has them.
    """

    commit: str
    claim: str
    path: str
    size: int
    snapshot: str | None = None
    clone_class: str = "gp3-clone"
    clone_size: str = ""
    address: str = ""

    @property
    def model_path(self) -> str:
        """What vLLM gets as its model."""
        return self.address or f"/models/{self.path}"

    @classmethod
    def of(cls, cache: WarmCache | StagedModel, size: int) -> Weights:
        """The weights on a warmed cache volume, or as they are staged."""
        if isinstance(cache, StagedModel):
            return cls(cache.commit, "", "", size, address=cache.uri)
        return cls(
            cache.commit, cache.claim, cache.path, size, cache.snapshot, cache.storage_class, cache.size
        )

    @classmethod
    def expected(cls, model: Model, inspection: HubInspection, bucket: str = "") -> Weights:
        """The weights before they are warmed; only warming knows a snapshot's name and a clone's size. `bucket`: the model bucket."""
        repo, commit = inspection.model.repo, inspection.model.commit
        if model.weights == "stream":
            address = f"s3://{bucket}/{names.staged_prefix(repo, commit)}"
            return cls(commit, "", "", inspection.weight_bytes, address=address)
        return cls(
            commit,
            names.cache_claim(model),
            names.cache_path(repo, commit),
            inspection.weight_bytes,
            snapshot="taken-by-warming" if model.wants_snapshot else None,
            clone_size="1Gi",
        )


def most_replicas(model: Model) -> int:
    return model.scaling.max_replicas


def check_replicas(model: Model, weights: Weights) -> None:
    """Raise InputError where several replicas would share one ReadWriteOnce volume."""
    wanted = most_replicas(model)
    if wanted > 1 and not weights.snapshot and not weights.address:
        raise InputError(
            f"{model.name} asks for up to {wanted} replicas, but its cache volume can serve one",
            evidence=[
                "an EBS volume is ReadWriteOnce: a second replica on another node cannot attach it",
                "replicas take a clone each from a VolumeSnapshot of the warmed volume, and there is none",
            ],
            next_command=f"set cache.snapshot: auto in models/{model.name}.yaml, or scaling.max_replicas: 1",
        )


def weights_volume(model: Model, weights: Weights) -> Object:
    """The pods' volume: the claim itself for one replica, else a claim for each, cloned from the snapshot.

    https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
    """
    if most_replicas(model) == 1:
        return {"name": "models", "persistentVolumeClaim": {"claimName": weights.claim, "readOnly": True}}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": weights.clone_class,
        "dataSource": {
            "apiGroup": "snapshot.storage.k8s.io",
            "kind": "VolumeSnapshot",
            "name": weights.snapshot,
        },
        "resources": {"requests": {"storage": weights.clone_size}},
    }
    labels = {"app": names.CACHE, "model": model.name}
    return {
        "name": "models",
        "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": labels}, "spec": spec}},
    }


def claim_affinity(model: Model) -> Object:
    """Schedule pods that share one claim on one node: elsewhere they would wait for the volume for ever.

    The first pod may go anywhere: Kubernetes lets a pod that matches its own affinity through.
    """
    mine = {"key": names.MODEL_LABEL, "operator": "In", "values": [*names.model_labels(model)]}
    # those of an earlier release that stream share no claim, and may be on a node that is full
    other = {"key": names.WEIGHTS_LABEL, "operator": "DoesNotExist"}
    term = {"labelSelector": {"matchExpressions": [mine, other]}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

"""What one stage returns and the next one takes: frozen records of what was found or made."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tasks.records.drills import PromiseState
from tasks.records.model import Engine
from tasks.records.questions import Route
from tasks.records.record import Record
from tasks.records.strategy import Taken, as_written

# Suffixes of files that can run code when they are read.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# Settings that came after ledgers were written. At their default they are no part of an id, or every release would get
# another one.
ADDED_TO_ENGINE: dict[str, Any] = {
    "task": "generate",
    "env": {},
    "lora": [],
    "max_loras": 1,
    "max_lora_rank": 16,
    "chat_template": None,
}


APPLIED = "sha256 of the saved plan that this run applied, or `no change`; None where it planned nothing"


class HubFile(Record):
    """One file of a repo at one commit. `sha256` is the LFS oid; small files have only git's blob sha1."""

    path: str
    size: int = Field(ge=0)
    sha256: str | None = None
    git_sha1: str | None = None


class HubModel(Record):
    """A repo pinned to a commit, with the files to stage."""

    repo: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    gated: bool
    files: tuple[HubFile, ...]
    skipped: tuple[str, ...] = Field((), description="files left out, each with the reason")

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def weight_bytes(self) -> int:
        return sum(file.size for file in self.files if file.path.endswith((".safetensors", ".bin", ".gguf")))

    @property
    def only_pickles(self) -> tuple[str, ...]:
        """Paths of the pickles, where the repo has weights in no safer format."""
        if any(file.path.endswith((".safetensors", ".gguf")) for file in self.files):
            return ()
        return tuple(file.path for file in self.files if file.path.endswith(PICKLES))


class HubInspection(Record):
    """A pinned repo and what its small files say: JSON documents, and bytes by dtype from safetensors headers."""

    model: HubModel
    config: dict[str, Any]
    tensor_bytes: dict[str, int] = Field(
        description="bytes of all tensors by dtype, e.g. {'BF16': 16060522496}"
    )
    weights: tuple[str, ...] = Field((), description="the files vLLM reads its weights from")
    missing: tuple[str, ...] = Field(
        (), description="weight files an index or a numbering names and the repo lacks"
    )
    unreadable: dict[str, str] = Field(
        default_factory=dict, description="weight file -> why its header is none: a git LFS pointer, a page"
    )
    documents: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="adapter_config.json, params.json, tokenizer_config.json and the like as far as they are there",
    )
    modules: tuple[str, ...] = Field(
        (), description="last names of the modules that have weights, or an adapter: q_proj, lm_head"
    )
    adapters: tuple[HubInspection, ...] = Field(
        (), description="the LoRA adapters served with it, in the model's file's order"
    )

    @property
    def sentence_length(self) -> int | None:
        """`max_seq_length` of sentence-transformers: it bounds what vLLM takes, whatever config.json says."""
        for name, document in self.documents.items():
            if name.startswith("sentence_") and isinstance(found := document.get("max_seq_length"), int):
                return found
        return None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights vLLM reads."""
        if found := sum(self.tensor_bytes.values()):
            return found
        read = set(self.weights)
        counted = sum(file.size for file in self.model.files if file.path in read)
        return counted or self.model.weight_bytes


class PreflightRow(Record):
    """One row of the preflight table."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    next_command: str = ""


class Feasibility(Record):
    """The preflight table of a model on an environment, and the memory sum line by line."""

    rows: tuple[PreflightRow, ...]
    judged_at: datetime | None = Field(None, description="when; its prices are of that day")
    engine_version: str = Field(
        "", description="vLLM's, as the image's name says it; empty where it does not"
    )
    explanation: str = Field("", description="empty where config.json does not say enough for a sum")
    replica_hour: float | None = Field(
        None,
        description="USD an hour of the GPUs of one replica, by list prices; none where the price is unknown",
    )

    @property
    def cost(self) -> str:
        """What the environment costs an hour by today's list prices; empty where no row says so."""
        return next((row.detail for row in self.rows if row.check == "cost"), "")


class WeightsChoice(Record):
    """How weights come to the replicas, and why where Slipway chose (`weights: auto`)."""

    how: Literal["volume", "stream"]
    why: str = Field("", description="empty where the model's file says it")

    def __str__(self) -> str:
        return f"{self.how}: {self.why}"


class StorageOutputs(Record):
    """Outputs of infra/terraform/storage."""

    bucket: str
    bucket_arn: str
    kms_key_arn: str
    hub_token_secret_arn: str
    evidence_key_arn: str = Field("", description="signs evidence; empty until terraform has made it")
    plan: str | None = Field(None, description=APPLIED)


class Infrastructure(Record):
    """What is read of infra/terraform/cluster's outputs. The certificate authority is base64 PEM, as EKS gives it."""

    cluster_name: str
    endpoint: str
    certificate_authority: str
    region: str
    aws_profile: str | None = None
    gpu_node_group: str = Field(description="empty where Karpenter makes the GPU nodes")
    gpu_zone: str = Field(
        "", description="of the GPU nodes and cache volumes; empty in states of before it was put out"
    )
    streamed: tuple[tuple[str, str], ...] = Field(
        (), description="(model, prefix of the model bucket that its pods may read)"
    )
    vpc_id: str = Field("", description="the cluster's; empty in states of before it was put out")
    plan: str | None = Field(None, description=APPLIED)


class StagedFile(Record):
    """One object in S3. The warm job checks ranges by `part_size` and `parts` (CRC64NVME of each, base64)."""

    path: str
    size: int = Field(ge=0)
    sha256: str
    crc64nvme: str
    part_size: int = Field(gt=0)
    parts: tuple[str, ...]


class Manifest(Record):
    """The list of a staged model's files, written last. Every later stage relies on it."""

    format: Literal[1] = 1
    repo: str
    commit: str
    files: tuple[StagedFile, ...]
    staged_at: datetime
    staged_by: str = Field(description="slipway's version")
    adapters: tuple[Manifest, ...] = Field(
        (), description="of a release: its LoRA adapters' own; no part of the object in S3"
    )

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def files_sha256(self) -> str:
        """A hash over path, size, sha256 and CRC64NVME of each file: the same whenever and however it was staged."""
        listed = sorted((file.path, file.size, file.sha256, file.crc64nvme) for file in self.files)
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


class StagedModel(Record):
    """A model that is complete in S3 under `s3://bucket/prefix/`, with its manifest."""

    bucket: str
    prefix: str
    repo: str
    commit: str
    total_bytes: int
    manifest_sha256: str
    files_sha256: str = Field("", description="over the manifest's files: Manifest.files_sha256")
    account: str = Field(description="the AWS account that owns the bucket")
    reused: bool = Field(False, description="it was there before")
    adapters: tuple[StagedModel, ...] = Field((), description="LoRA adapters that are served with it")

    @property
    def parts(self) -> tuple[StagedModel, ...]:
        """The model and its adapters, each under its own prefix."""
        return (self, *self.adapters)

    @property
    def all_bytes(self) -> int:
        return sum(part.total_bytes for part in self.parts)

    @property
    def digest(self) -> str:
        """A sha256 over all manifests; of a model without adapters, its manifest's."""
        if not self.adapters:
            return self.manifest_sha256
        return hashlib.sha256("".join(part.manifest_sha256 for part in self.parts).encode()).hexdigest()

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class WarmCache(Record):
    """A PVC that holds the model at `path`, relative to its root."""

    namespace: str
    claim: str
    path: str
    volume_id: str
    zone: str
    commit: str
    bytes_copied: int
    reused: bool = False
    snapshot: str | None = Field(
        None, description="a ready VolumeSnapshot of it, which each of several replicas clones"
    )
    storage_class: str = Field("gp3-clone", description="of the clones, which are deleted with their pods")
    size: str = Field("", description="of a clone, as a Kubernetes quantity; at least the snapshot's")


class Release(Record):
    """What is deployed and promoted: the model's commit, the image, the flags, the manifests' hash."""

    model: str
    environment: str
    repo: str
    commit: str
    image: str
    engine: Engine
    manifests_sha256: str

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits over all of it, the environment included."""
        return self._digest(exclude=set())

    @property
    def bundle(self) -> str:
        """Twelve hexadecimal digits over what is promoted: the same in every environment."""
        return self._digest(exclude={"environment", "manifests_sha256"})

    def _digest(self, exclude: set[str]) -> str:
        document = self.model_dump(mode="json", exclude=exclude)
        for name, default in ADDED_TO_ENGINE.items():
            if document["engine"][name] == default:
                del document["engine"][name]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


class Promoted(Record):
    """The evidence in another environment by which a release came in."""

    environment: str
    evidence_sha256: str
    sequence: int
    key_id: str = Field(description="of the key that signed it: another key begins another chain")


class Endpoint(Record):
    """The model's address at the gateway. The API key is given as the name of a Secret, never as its value."""

    base_url: str
    served_name: str
    key_namespace: str
    key_secret: str
    connect_to: str = Field(
        "", description="with TLS, the load balancer's own name, which the URL's is to lead to; else empty"
    )
    route: Route = Field("chat", description="what it is asked")


class Rollout(Record):
    """A release that passed the readiness gate."""

    release_id: str
    revision: int
    previous_release_id: str | None
    strategy: Annotated[Taken, BeforeValidator(as_written)]
    endpoint: Endpoint
    expected_gap_seconds: float = Field(0.0, description="predicted before the rollout")
    gap_seconds: float | None = Field(
        None, description="measured downtime at the gateway; None: nothing served before"
    )
    canary: int = Field(0, description="replicas that were replaced first")
    unchanged: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_old_fields(cls, document: Any) -> Any:
        """Read older ledgers, which have a start's phases here too; they are in `ReleaseRecord.starts`."""
        if isinstance(document, dict):
            return {
                name: value for name, value in document.items() if name not in ("phases", "phases_before")
            }
        return document


class Tuned(Record):
    """A number that a release scales by, and whether a sweep measured it."""

    name: str = Field(description="as in the model's file")
    value: int
    origin: Literal["measured", "default", "given"] = Field(
        description="proposed by a sweep; the default; or another number of the model's file"
    )
    measured_by: str | None = Field(None, description="the release that was swept")
    stale: str = Field("", description="what changed since a sweep measured it, by which that is stale")

    def __str__(self) -> str:
        how = f"measured by the sweep of {self.measured_by}" if self.measured_by else self.origin
        late = f" (what a sweep measured is stale: {self.stale} changed)" if self.stale else ""
        return f"{self.name} {self.value}: {how}{late}"


class Served(Record):
    """A model that has a release in an environment, and what runs of it now."""

    model: str
    release: str
    rolling: str | None = Field(None, description="a release whose rollout has not been proven or undone")
    replicas: int = Field(description="ready ones; 0 where it sleeps")
    proven_at: datetime | None = Field(None, description="the last load validation it passed")
    made_from: str | None = Field(None, description="the commit of the project's files it was made from")
    base_url: str = ""
    tuned: tuple[Tuned, ...] = Field((), description="the numbers it scales by, and where they come from")
    slow_start: tuple[str, ...] = Field(
        (), description="phases of its last start that were over their budgets"
    )
    promises: tuple[PromiseState, ...] = Field((), description="when each was last seen to act, by drills")

    @property
    def awake(self) -> bool:
        """Whether it answers, and no rollout of it is unfinished."""
        return self.replicas > 0 and self.rolling is None


class IdleDecision(Record):
    """Whether the GPUs may be released, and the evidence."""

    act: bool
    reason: str
    evidence: tuple[str, ...]

    def carried_out(self, done: ScaledDown) -> IdleDecision:
        """What became of it: a request may have woken the model while it went."""
        if done.asleep:
            return self
        return self.model_copy(update={"act": False, "reason": "a request woke it while its pods went"})


class ScaledDown(Record):
    """How a scale-down to zero ended. `holders`: pods of anyone that still hold a GPU, as NAMESPACE/NAME."""

    asleep: bool = True
    holders: tuple[str, ...] = ()

    @property
    def nodes_may_go(self) -> bool:
        return self.asleep and not self.holders

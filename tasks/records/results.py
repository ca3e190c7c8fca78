"""What one stage hands the next: each a frozen record of what is really there."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.records.model import Engine
from tasks.records.objectives import (
    LATENCIES,
    OLD_NAMES,
    REQUEST_LATENCIES,
    LatencyName,
    Percentile,
    RequestLatency,
)
from tasks.records.record import Record

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
FigureName = LatencyName | Literal["errors", "goodput", "output_tokens_per_second", "requests_per_second"]

# Suffixes of files that can run code when they are read.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


class HubFile(Record):
    """One file of a repo at one commit. `sha256` is the LFS oid; small files have only git's blob sha1."""

    path: str
    size: int = Field(ge=0)
    sha256: str | None = None
    git_sha1: str | None = None


class HubModel(Record):
    """A repo pinned to a commit: the files that will be staged."""

    repo: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    gated: bool
    files: tuple[HubFile, ...]
    skipped: tuple[str, ...] = Field((), description="files left out, with the reason, for people")

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def weight_bytes(self) -> int:
        return sum(file.size for file in self.files if file.path.endswith((".safetensors", ".bin", ".gguf")))

    @property
    def only_pickles(self) -> tuple[str, ...]:
        """Paths of the pickles where the weights are in nothing else; none where they are."""
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
        description="adapter_config.json, params.json, tokenizer_config.json as far as they are there",
    )

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights vLLM reads."""
        if found := sum(self.tensor_bytes.values()):
            return found
        read = set(self.weights)
        counted = sum(file.size for file in self.model.files if file.path in read)
        return counted or self.model.weight_bytes


class StorageOutputs(Record):
    """Outputs of infra/terraform/storage."""

    bucket: str
    bucket_arn: str
    kms_key_arn: str
    hub_token_secret_arn: str


class Infrastructure(Record):
    """Outputs of infra/terraform/cluster; the certificate authority is base64 PEM as EKS gives it."""

    cluster_name: str
    endpoint: str
    certificate_authority: str
    kubernetes_version: str
    region: str
    aws_profile: str | None = None
    vpc_id: str
    private_subnet_ids: tuple[str, ...]
    zones: tuple[str, ...]
    gpu_node_group: str
    system_node_group: str
    namespace: str


class StagedFile(Record):
    """One object. `part_size` and `parts` (CRC64NVME of each part, base64) let the warm job check ranges."""

    path: str
    size: int = Field(ge=0)
    sha256: str
    crc64nvme: str
    part_size: int = Field(gt=0)
    parts: tuple[str, ...]


class Manifest(Record):
    """Written last, beside the files: what everything after staging trusts."""

    format: Literal[1] = 1
    repo: str
    commit: str
    files: tuple[StagedFile, ...]
    staged_at: datetime
    staged_by: str = Field(description="slipway's version")

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


class StagedModel(Record):
    """A model that is whole in S3 under `s3://bucket/prefix/`, with its manifest."""

    bucket: str
    prefix: str
    repo: str
    commit: str
    total_bytes: int
    manifest_sha256: str
    reused: bool = Field(False, description="it was there already")

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class WarmCache(Record):
    """A claim that holds the model under `path` (below the claim's root)."""

    namespace: str
    claim: str
    path: str
    volume_id: str
    zone: str
    commit: str
    bytes_copied: int
    reused: bool = False
    snapshot: str | None = Field(
        None, description="a ready VolumeSnapshot of it: what each of several replicas gets a clone of"
    )
    storage_class: str = Field("gp3-clone", description="of the clones: one that deletes, they go with pods")
    size: str = Field("", description="of a clone, as a Kubernetes quantity: not less than the snapshot's")


class Release(Record):
    """What is promoted, never rebuilt: the model's commit, the image, the flags, the manifests' hash."""

    model: str
    environment: str
    repo: str
    commit: str
    image: str
    engine: Engine
    manifests_sha256: str

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits over all of it: one release in one environment."""
        return self._digest(exclude=set())

    @property
    def bundle(self) -> str:
        """Twelve hexadecimal digits over what is promoted; the same in every environment it comes to."""
        return self._digest(exclude={"environment", "manifests_sha256"})

    def _digest(self, exclude: set[str]) -> str:
        document = self.model_dump(mode="json", exclude=exclude)
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


class Endpoint(Record):
    """Where the model answers through the gateway. The key is a Secret's name, never its value."""

    base_url: str
    served_name: str
    key_namespace: str
    key_secret: str


class Rollout(Record):
    """A release that passed the readiness gate."""

    release_id: str
    revision: int
    previous_release_id: str | None
    strategy: Literal["RollingUpdate", "Recreate", "blue-green"]
    endpoint: Endpoint
    expected_gap_seconds: float = Field(0.0, description="what was said before anything moved")
    gap_seconds: float | None = Field(
        None, description="how long nobody answered at the gateway, measured; None: nothing served before"
    )
    canary: int = Field(0, description="replicas that went first")
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


class Distribution(Record):
    """Milliseconds over the requests counted; None where there were none."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    def at(self, percentile: Percentile) -> float | None:
        """Milliseconds at a percentile."""
        found: float | None = getattr(self, percentile)
        return found


class Block(Record):
    """A part of the window, by when its requests were due: what latency over time and its noise are read from."""

    start: float = Field(description="seconds since the window began")
    seconds: float
    requests: int
    failed: int
    output_tokens: int
    ttft: Distribution
    tpot: Distribution
    e2e: Distribution

    def latency(self, name: RequestLatency) -> Distribution:
        """The distribution of one latency of the block's requests."""
        return _latency(self, name)


class Named(Record):
    """What a figure is of: a latency at a percentile (in milliseconds), or a share or rate of the whole window."""

    figure: FigureName
    percentile: Percentile | None = Field(None, description="of a latency")

    @property
    def name(self) -> str:
        """ "ttft p95", "errors"."""
        return f"{self.figure} {self.percentile}" if self.percentile else self.figure

    @property
    def is_latency(self) -> bool:
        return self.figure in LATENCIES

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, given: Any) -> Any:
        """Ledgers written up to version 0.1.0 hold one name, such as `ttft_p95_ms`."""
        if not isinstance(given, dict) or given.get("name") not in _OLD_FIGURES:
            return given
        figure, *percentile = _OLD_FIGURES[given["name"]]
        rest = {key: value for key, value in given.items() if key != "name"}
        return {**rest, "figure": figure, "percentile": percentile[0] if percentile else None}


_OLD_FIGURES = OLD_NAMES | {
    "error_rate": ("errors",),
    "output_tokens_per_second": ("output_tokens_per_second",),
}


class Figure(Named):
    """One figure of two runs. A rise of more than `allowed` is a regression; for a figure that should be high, a fall."""

    before: float
    now: float
    noise: float = Field(description="standard error of the difference, from the spread of both runs' blocks")
    allowed: float
    regressed: bool


class Comparison(Record):
    """This run beside the last proven one on the same profile; `compared` False: why there was nothing to compare."""

    compared: bool
    why: str
    release: str | None = None
    figures: tuple[Figure, ...] = ()


class ObjectiveResult(Named):
    """One objective: the bound, what was measured, whether it holds."""

    bound: float
    measured: float | None
    holds: bool


class Measured(Record):
    """What the load generator measured over the requests of the window, by the rules of docs/measuring.md."""

    started_at: datetime
    window_seconds: float
    achieved_rate: float
    requests: int
    succeeded: int
    failures: dict[str, int]
    failure_messages: dict[str, str] = Field(
        default_factory=dict, description="the server's words in the first failure of each kind, cut"
    )
    ttft: Distribution
    itl: Distribution
    tpot: Distribution
    e2e: Distribution
    output_tokens_per_second: float
    prompt_tokens_per_second: float | None = None
    goodput: float | None
    in_flight: float | None = Field(None, description="requests under way on average: Little's law")
    send_lateness: Distribution
    loop_lag_p99_ms: float
    warmup_failures: int = 0
    cut_to_context: int = Field(0, description="requests shortened to what the model can take")
    blocks: tuple[Block, ...] = ()
    quantiles: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="milliseconds of ttft, itl, tpot, e2e at each percent from 0 to 100"
    )

    def latency(self, name: LatencyName) -> Distribution:
        """The distribution of one latency."""
        return _latency(self, name)

    @property
    def error_rate(self) -> float | None:
        """Share of the requests that failed; None where there were none."""
        return (self.requests - self.succeeded) / self.requests if self.requests else None

    @property
    def lateness_ms(self) -> float:
        """How late the generator itself may have been: the larger of send lateness and loop lag at p99."""
        return max(self.send_lateness.p99 or 0.0, self.loop_lag_p99_ms)


class LoadReport(Measured):
    """What was measured, and the verdict on it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    objectives: tuple[ObjectiveResult, ...]
    offered_rate: float | None = Field(description="None where callers or a trace decide")
    load: str = Field("", description="what was asked for, in words")
    profile: str = Field(
        "",
        description="digest of the load's settings, its files and the definitions: only equals are compared",
    )
    comparison: Comparison | None = None


def _latency(figures: Record, name: LatencyName) -> Distribution:
    found: Distribution = getattr(figures, name)
    return found


class SweepStep(Record):
    """One rate for one window, judged by the model's objectives."""

    rate: float
    verdict: Verdict
    reason: str
    requests: int
    in_flight: float
    ttft: Distribution
    tpot: Distribution
    e2e: Distribution
    output_tokens_per_second: float
    error_rate: float

    def latency(self, name: RequestLatency) -> Distribution:
        """The distribution of one latency."""
        return _latency(self, name)

    @model_validator(mode="before")
    @classmethod
    def _read_old_fields(cls, given: Any) -> Any:
        """Ledgers written up to version 0.1.0 hold `ttft_p50`, `ttft_p95` and so on beside each other."""
        if not isinstance(given, dict) or "ttft_p50" not in given:
            return given
        read = {key: value for key, value in given.items() if not key.endswith(("_p50", "_p95"))}
        for name in REQUEST_LATENCIES:
            percentiles = {each: given.get(f"{name}_{each}") for each in ("p50", "p95")}
            read[name] = {"count": given.get("requests", 0), **percentiles}
        return read


class Sweep(Record):
    """The highest rate at which the objectives hold, or why it is not known; and what follows from it for one replica."""

    started_at: datetime
    replicas: int
    steps: tuple[SweepStep, ...]
    knee: float | None = Field(None, description="requests a second of all replicas")
    refused: str | None = Field(None, description="why there is no knee")
    in_flight: float | None = Field(None, description="requests under way at the knee, of all replicas")
    requests_per_replica: int | None = Field(None, description="proposed for scaling.requests_per_replica")
    max_num_seqs: int | None = Field(None, description="proposed for engine.max_num_seqs")
    why: str = ""


class LoadPage(Record):
    """A load report for people and for machines, to keep beside its release."""

    html: str
    document: str = Field(description="JSON")


class IdleDecision(Record):
    """Whether the GPUs may go, and the evidence for it."""

    act: bool
    reason: str
    evidence: tuple[str, ...]

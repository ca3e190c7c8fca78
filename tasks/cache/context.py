"""What warming one model works with, and the names of what it makes."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.cloud.ebs import Ebs
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import REAL, Time
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.names import cache_claim
from tasks.records.progress import Reporter
from tasks.records.results import StagedModel

# Annotations of the claim: the commit and the sha256 of the manifest it holds whole; every commit on it and its bytes, as JSON.
WARM, WARM_MANIFEST, HELD = "slipway.dev/warm", "slipway.dev/warm-manifest", "slipway.dev/held"
# Annotation of the job and of snapshots: the sha256 of the manifest.
MANIFEST = "slipway.dev/manifest"


@dataclass(frozen=True)
class Context:
    """One model in one environment. `needed`: commits that serve or may serve again; `more_for_pull`: seconds a pod may take
    to start beyond `deadlines.pod_start`, for its image's size."""

    cluster: Cluster
    environment: Environment
    model: Model
    staged: StagedModel
    ebs: Ebs
    needed: frozenset[str]
    reporter: Reporter
    time: Time = REAL
    more_for_pull: float = 0.0

    @property
    def namespace(self) -> str:
        return self.environment.namespace

    @property
    def claim(self) -> str:
        """The name of the model's claim."""
        return cache_claim(self.model)

    @property
    def job(self) -> str:
        """The name of the job that fills the claim with the staged commit."""
        return job_name(self.model, self.staged.commit)

    @property
    def snapshot(self) -> str:
        """The name of the VolumeSnapshot of the staged files."""
        return snapshot_name(self.model, self.staged.commit, self.staged.digest)

    def say(self, line: str) -> None:
        self.reporter.say(line)


def job_name(model: Model, commit: str) -> str:
    """At most 58 characters: a job's name is a label value of its pods, of 63 at most."""
    return f"warm-{model.name}-{commit[:12]}"


def snapshot_name(model: Model, commit: str, manifest: str) -> str:
    """Another choice of files of the same commit is another snapshot. `manifest`: its sha256."""
    return f"{cache_claim(model)}-{commit[:12]}-{manifest[:8]}"

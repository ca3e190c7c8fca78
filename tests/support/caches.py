"""A staged model in a bucket, the script that copies it, and the stage that makes a claim of it warm."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import EksCluster, Sandbox

from tasks.cache.context import Context, job_name
from tasks.cache.warming import warm
from tasks.cloud.aws import Aws
from tasks.cloud.ebs import Ebs
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import Time
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.names import cache_claim
from tasks.records.results import StagedModel, WarmCache
from tasks.staging.hashes import crc64nvme, encoded
from tests.support.builders import ROOT
from tests.support.clock import until
from tests.support.clouds import ACCOUNT, aws_over
from tests.support.heard import Heard

MIB = 1 << 20
REPO, COMMIT = "acme/small", "c" * 40
SCRIPT = ROOT / "k8s" / "cache" / "warmer"


def parts_of(body: bytes) -> dict[str, Any]:
    parts = [body[at : at + MIB] for at in range(0, max(1, len(body)), MIB)]
    return {"part_size": MIB, "parts": [encoded(crc64nvme(part)) for part in parts]}


@dataclass
class Staged:
    """A bucket with the model, and its files' bytes; `publish` writes the manifest as staging does."""

    s3: Any
    bucket: str
    files: dict[str, bytes]
    commit: str = COMMIT
    sha256: str = ""
    by_part: bool = True  # whether the manifest has what proves each part, of 1 MiB

    @property
    def prefix(self) -> str:
        return f"{REPO}/{self.commit}"

    def publish(self, **sizes: int) -> None:
        """`sizes`: what the manifest says of a file instead of its size."""
        listed = [
            {
                "path": path,
                "size": sizes.get(path, len(body)),
                "sha256": hashlib.sha256(body).hexdigest(),
                **(parts_of(body) if self.by_part else {}),
            }
            for path, body in self.files.items()
        ]
        body = json.dumps({"files": listed}).encode()
        self.sha256 = hashlib.sha256(body).hexdigest()
        self.put(".slipway/manifest.json", body)

    def put(self, path: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}", Body=body)

    def record(self) -> StagedModel:
        total = sum(map(len, self.files.values()))
        return StagedModel(
            bucket=self.bucket,
            prefix=self.prefix,
            repo=REPO,
            commit=self.commit,
            total_bytes=total,
            manifest_sha256=self.sha256,
            account=ACCOUNT,
        )


@dataclass
class Outcome:
    """How a run of the script ended, and its lines."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str

    def last(self, event: str) -> dict[str, Any]:
        found = [line for line in self.lines if line["event"] == event]
        assert found, (event, self.lines, self.stderr)
        return found[-1]

    @property
    def texts(self) -> str:
        return json.dumps(self.lines)


@dataclass
class Script:
    """The warmer as the job runs it: a process with the pod's environment."""

    sandbox: Sandbox
    staged: Staged
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / REPO.replace("/", "--") / self.staged.commit

    def start(self, *more: str, credentials: bool = True) -> subprocess.Popen[str]:
        environment = self.sandbox.variables(AWS_SHARED_CREDENTIALS_FILE="/nonexistent")
        if not credentials:
            environment = {name: value for name, value in environment.items() if "KEY" not in name}
        arguments = [
            f"--bucket={self.staged.bucket}",
            f"--bucket-owner={ACCOUNT}",
            f"--prefix={self.staged.prefix}",
            f"--repo={REPO}",
            f"--commit={self.staged.commit}",
            f"--manifest-sha256={self.staged.sha256}",
            f"--root={self.root}",
            f"--chunk={MIB}",
            "--threads=4",
            *more,
        ]
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __call__(self, *more: str, credentials: bool = True) -> Outcome:
        process = self.start(*more, credentials=credentials)
        stdout, stderr = process.communicate(timeout=60)
        lines = [json.loads(line.removeprefix("SLIPWAY ")) for line in stdout.splitlines()]
        return Outcome(process.returncode, lines, stderr)

    def assert_whole(self) -> None:
        for path, body in self.staged.files.items():
            assert (self.folder / path).read_bytes() == body
        assert (self.folder / ".slipway-complete.json").is_file()
        assert not (self.folder / ".slipway-progress.json").exists()


@dataclass
class Warmer:
    """`warm` for a model of its own in the shared cluster."""

    cluster: Cluster
    eks: EksCluster
    staged: Staged
    heard: Heard = field(default_factory=Heard)
    name: str = field(default_factory=lambda: f"m-{uuid.uuid4().hex[:8]}")
    image: str = "vllm/vllm-openai:v0.32.0"
    deadlines: dict[str, float] = field(default_factory=dict)
    gpu: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)  # of the model's file
    needed: tuple[str, ...] = ()

    @property
    def aws(self) -> Aws:
        return aws_over(self.eks.sandbox)

    @property
    def model(self) -> Model:
        return Model.model_validate(
            {
                "name": self.name,
                "source": {"repo": REPO},
                "engine": {"image": self.image},
                "load": {"rate": 1},
                **self.more,
            }
        )

    @property
    def environment(self) -> Environment:
        return Environment.model_validate(
            {
                "name": "test",
                "region": "us-east-1",
                "cluster": {"name": self.eks.name, "gpu": self.gpu},
                "storage": {"model_bucket": "models", "state_bucket": "state"},
                "deadlines": self.deadlines,
            }
        )

    def __call__(self, clock: Callable[[], float] = time.monotonic) -> WarmCache:
        return warm(
            Context(
                cluster=self.cluster,
                environment=self.environment,
                model=self.model,
                staged=self.staged.record(),
                ebs=Ebs.of(self.aws, "g5.2xlarge"),
                needed=frozenset(self.needed),
                reporter=self.heard,
                time=Time(clock, lambda _: time.sleep(0.1)),
            )
        )

    @property
    def claim_name(self) -> str:
        return cache_claim(self.model)

    @property
    def job_name(self) -> str:
        return job_name(self.model, self.staged.commit)

    def restage(self, commit: str) -> None:
        """The same files as another commit."""
        self.staged.commit = commit
        for path, body in self.staged.files.items():
            self.staged.put(path, body)
        self.staged.publish()

    def claim(self) -> dict[str, Any]:
        found = self.cluster.get("v1", "PersistentVolumeClaim", self.claim_name, "llm")
        assert found is not None
        return found

    def job(self) -> dict[str, Any] | None:
        return self.cluster.get("batch/v1", "Job", self.job_name, "llm")


def forget(warmer: Warmer, volume_id: str) -> None:
    """The cluster is as new to the model: no job, no claim, no PersistentVolume; EC2 still has the volume, and no instance
    holds it any more."""
    cluster, claim = warmer.cluster, warmer.claim_name
    volume = warmer.claim()["spec"]["volumeName"]
    cluster.delete("batch/v1", "Job", warmer.job_name, "llm")
    cluster.delete("v1", "PersistentVolumeClaim", claim, "llm")
    until(lambda: cluster.get("v1", "PersistentVolumeClaim", claim, "llm") is None)
    ec2 = warmer.aws.client("ec2")
    until(lambda: ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available", 60.0)
    cluster.patch("v1", "PersistentVolume", volume, {"metadata": {"finalizers": None}})
    cluster.delete("v1", "PersistentVolume", volume)
    until(lambda: cluster.get("v1", "PersistentVolume", volume) is None)

"""An S3 that enforces checksums, as a process of its own, and a staged model in it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY, Settings
from slipway_sandbox.supervisor import free_network

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster, connect
from tasks.records.results import Infrastructure, StagedModel
from tasks.staging.hashes import crc64nvme, encoded

MIB = 1 << 20
REPO, COMMIT = "acme/small", "c" * 40


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def held_network() -> Iterator[str]:
    """A block 127.N that no sandbox beside this one takes: a sandbox of another worker would be given the same
    addresses, and one's gateway would answer for the other's."""
    with socket.socket() as lock:
        while True:
            network = free_network()
            with suppress(OSError):  # somebody was quicker: the next one
                lock.bind((f"{network}.255.254", 9))
                break
        yield network


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    root = tmp_path_factory.mktemp("cache")
    aws, control, hub, cdn, metrics, prefect = _free_ports(6)
    with held_network() as network:
        made = Settings(
            root,
            network,
            aws,
            control,
            hub,
            cdn,
            metrics,
            prefect,
            cluster_boot_seconds=0.1,
            nodegroup_boot_seconds=0.1,
            node_boot_seconds=0.1,
            addon_seconds=0.1,
        )
        made.save()
        with _running("slipway_sandbox.aws", root, "listening"):
            yield made


@contextmanager
def _running(module: str, root: Path, says: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--root", str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert says in line, f"{module} said {line!r}"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


CLUSTER = "cache-test"


@pytest.fixture(scope="session")
def cluster(settings: Settings) -> Iterator[Cluster]:
    """An EKS cluster with one GPU node and the EBS CSI driver, reached as the product reaches one."""
    with (
        pytest.MonkeyPatch.context() as patch,
        _running("slipway_sandbox.region", settings.root, "region ready"),
    ):
        for name, value in settings.aws_environment().items():
            patch.setenv(name, value)
        yield _make_cluster(Aws(settings.region))


@pytest.fixture(autouse=True)
def this_region(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's variables name this folder's AWS again: a file elsewhere may have made a cluster of its own since."""
    if "cluster" in request.fixturenames:
        for name, value in request.getfixturevalue("settings").aws_environment().items():
            monkeypatch.setenv(name, value)


def _make_cluster(aws: Aws) -> Cluster:
    ec2, eks = aws.client("ec2"), aws.client("eks")
    role = aws.client("iam").create_role(RoleName="cache-test", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")[
            "Subnet"
        ]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    eks.create_cluster(name=CLUSTER, roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    eks.get_waiter("cluster_active").wait(name=CLUSTER, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    eks.create_nodegroup(
        clusterName=CLUSTER,
        nodegroupName="gpu",
        subnets=subnets[:1],  # as in the product: a cache volume has one zone
        nodeRole=role,
        instanceTypes=["g5.2xlarge"],
        scalingConfig={"minSize": 0, "maxSize": 2, "desiredSize": 1},
        labels={"workload": "inference-gpu"},
        taints=[{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
    )
    associate = {"clusterName": CLUSTER, "roleArn": role}
    eks.create_addon(
        clusterName=CLUSTER,
        addonName="aws-ebs-csi-driver",
        podIdentityAssociations=[{"serviceAccount": "ebs-csi-controller-sa", "roleArn": role}],
    )
    eks.create_addon(clusterName=CLUSTER, addonName="eks-pod-identity-agent")
    eks.create_pod_identity_association(namespace="llm", serviceAccount="model-cache", **associate)
    described = eks.describe_cluster(name=CLUSTER)["cluster"]
    made = connect(
        Infrastructure(
            cluster_name=CLUSTER,
            endpoint=described["endpoint"],
            certificate_authority=described["certificateAuthority"]["data"],
            kubernetes_version=described["version"],
            region=aws.region,
            vpc_id=vpc,
            private_subnet_ids=tuple(subnets),
            zones=("us-east-1a", "us-east-1b"),
            gpu_node_group="gpu",
            system_node_group="none",
            namespace="llm",
        ),
        aws,
    )
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "llm"}})
    return made


@pytest.fixture
def faults(settings: Settings) -> Iterator[Faults]:
    switches = Faults(settings.faults_file)
    yield switches
    switches.clear()


@pytest.fixture(scope="session")
def s3(settings: Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.aws_url,
        region_name=settings.region,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}),
    )


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
        )


@pytest.fixture(scope="session")
def weights() -> dict[str, bytes]:
    made = random.Random(11)
    return {
        "model.safetensors": made.randbytes(9 * MIB + 333),
        "second.safetensors": made.randbytes(4 * MIB),
        "config.json": b"{}",
        "empty": b"",
        "nested/deeper/notes.txt": b"hello",
    }


@pytest.fixture
def staged(s3: Any, weights: dict[str, bytes]) -> Staged:
    made = Staged(s3, f"models-{uuid.uuid4().hex[:12]}", dict(weights))
    s3.create_bucket(Bucket=made.bucket)
    for path, body in made.files.items():
        made.put(path, body)
    made.publish()
    return made


SCRIPT = Path(__file__).parents[4] / "k8s" / "cache" / "warmer"


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

    settings: Settings
    staged: Staged
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / REPO.replace("/", "--") / self.staged.commit

    def start(self, *more: str, credentials: bool = True) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {
            k: v for k, v in self.settings.aws_environment().items() if credentials or "KEY" not in k
        }
        environment["AWS_SHARED_CREDENTIALS_FILE"] = "/nonexistent"
        arguments = [
            f"--bucket={self.staged.bucket}",
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


@pytest.fixture(params=["by part", "by file"])
def script(request: pytest.FixtureRequest, settings: Settings, staged: Staged, tmp_path: Path) -> Script:
    """Where the manifest has checksums of parts, and where only each file's sha256 can be used."""
    staged.by_part = request.param == "by part"
    staged.publish()
    return Script(settings, staged, tmp_path)

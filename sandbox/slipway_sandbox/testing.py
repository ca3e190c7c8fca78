"""The pytest plugin: the one door by which tests and benches outside this package use the sandbox.

Fixtures of the session, started where they are asked for:

    sandbox_aws      AWS alone
    sandbox_cluster  AWS, the hub and an EKS cluster with one GPU node
    sandbox          all of it, with Prefect; a folder's conftest may put another in its place
    faults           the switches of the folder's `sandbox`, for one test

Example: another sandbox for one folder, with a model of the tests' own on its hub.

    @pytest.fixture(scope="session")
    def sandbox(tmp_path_factory):
        folder = tmp_path_factory.mktemp("staging")
        with start(folder, parts=("aws", "hub"), models={"acme/small": folder / "model"}) as running:
            yield running

Nothing heavy is imported before a fixture is used: pytest loads this file in every run.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slipway_sandbox.faults import CATALOGUE, Faults
from slipway_sandbox.settings import EngineTiming, Settings
from slipway_sandbox.terraform.workspace import Workspace

if TYPE_CHECKING:
    import httpx

    from slipway_sandbox.clients import SandboxSession

__all__ = [
    "FAULTS",
    "GPU_TAINT",
    "HUB_READER",
    "HUB_STRANGER",
    "EksCluster",
    "EngineTiming",
    "Faults",
    "Sandbox",
    "Workspace",
    "engine_flags",
    "make_models",
    "make_prefect_home",
    "start",
]

FAULTS = tuple(CATALOGUE)
HUB_READER = "hf_sandbox_reader"  # a token of somebody who was let into the gated repositories
HUB_STRANGER = "hf_sandbox_stranger"  # and of somebody who was not
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}

# What takes minutes on AWS and tests wait for. Fields of Settings, in seconds.
SPEEDS: Mapping[str, Any] = {
    "cluster_boot_seconds": 0.1,
    "nodegroup_boot_seconds": 0.1,
    "node_boot_seconds": 0.1,
    "addon_seconds": 0.1,
}
# Variables of this process that would lead a child of it to another cloud than the sandbox's.
_FOREIGN = ("AWS_", "HF_", "PREFECT_", "TF_CLI_CONFIG_FILE", "KUBECONFIG", "PROMETHEUS_URL")


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. `environment`: the variables that make any client use it; `pids`: its processes by name."""

    environment: Mapping[str, str]
    pids: Mapping[str, int]
    _settings: Settings
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The sandbox's folder."""
        return self._settings.root

    @property
    def region(self) -> str:
        """The AWS region it stands for."""
        return self._settings.region

    @property
    def network(self) -> str:
        """The 127.N block of its pods, services and nodes."""
        return self._settings.network

    @property
    def aws_url(self) -> str:
        return self._settings.aws_url

    @property
    def hub_url(self) -> str:
        return self._settings.hub_url

    def publish(self, repo: str, folder: Path) -> str:
        """Make what a folder holds the newest commit of a repository's main; its sha. The folder is served from where it is."""
        import httpx

        answer = httpx.post(
            f"{self.hub_url}/sandbox/publish", json={"repo": repo, "folder": str(folder)}, trust_env=False
        )
        return str(answer.raise_for_status().json()["commit"])

    @property
    def control_url(self) -> str:
        """Where control planes are made and removed."""
        return self._settings.control_url

    @property
    def faults(self) -> Faults:
        return Faults(self._settings.faults_file)

    def decisions(self) -> list[dict[str, Any]]:
        """What IAM was asked so far, where policies are enforced: who, action, resource, allowed_by (POLICY/SID each)."""
        file = self.root / "iam.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def session(self, region: str | None = None) -> SandboxSession:
        """A boto3 session whose clients all speak to this sandbox."""
        from slipway_sandbox.clients import SandboxSession

        return SandboxSession(self._settings, region)

    def client(self, service: str) -> Any:
        """A boto3 client of the sandbox's region; the same one for every call."""
        key = (service, self.region)
        if key not in self._clients:
            self._clients[key] = self.session().client(service)
        return self._clients[key]

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of a process that is to use this sandbox, terraform and helm included."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return {**own, **self.environment, **more}

    def volume(self, volume_id: str) -> Path:
        """The folder that is an EBS volume."""
        return self.root / "volumes" / volume_id

    def bearer(self, cluster: str) -> str:
        """A fresh token for the cluster of that name; EKS takes it for 15 minutes."""
        from slipway_sandbox.aws.tokens import token_for

        return token_for(cluster, self._settings)

    def api(self, cluster: str) -> httpx.Client:
        """The Kubernetes API of the cluster of that name."""
        import httpx

        described = self.client("eks").describe_cluster(name=cluster)["cluster"]
        authority = base64.b64decode(described["certificateAuthority"]["data"]).decode()
        return httpx.Client(
            base_url=described["endpoint"],
            headers={"Authorization": f"Bearer {self.bearer(cluster)}"},
            verify=ssl.create_default_context(cadata=authority),
            timeout=30,
            trust_env=False,
        )

    def make_cluster(self, name: str, **more: Any) -> EksCluster:
        """An EKS cluster of that name in a VPC of its own, with a subnet in two zones and no node; waits until it is ACTIVE.

        `more` as EKS takes it (accessConfig).
        """
        ec2, eks = self.client("ec2"), self.client("eks")
        role = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = []
        for number, zone in enumerate("ab"):
            place = {"CidrBlock": f"10.0.{number}.0/24", "AvailabilityZone": f"{self.region}{zone}"}
            subnets.append(ec2.create_subnet(VpcId=vpc, **place)["Subnet"]["SubnetId"])
        eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, **more)
        eks.get_waiter("cluster_active").wait(name=name, WaiterConfig={"Delay": 1, "MaxAttempts": 90})
        return EksCluster(self, name, role, tuple(subnets))


@dataclass(frozen=True)
class EksCluster:
    """A cluster made by `Sandbox.make_cluster`. `role`: the ARN everything in it runs as; `subnets`: zone a, zone b."""

    sandbox: Sandbox
    name: str
    role: str
    subnets: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """What EKS says of it: endpoint, certificateAuthority, version and so on."""
        found: dict[str, Any] = self.sandbox.client("eks").describe_cluster(name=self.name)["cluster"]
        return found

    def add_nodes(self, group: str, instance_type: str, *, zone: int = 0, most: int = 1, **more: Any) -> None:
        """A node group with one node in the subnet `zone`, `most` at most; `more` as EKS takes it (labels, taints)."""
        self.sandbox.client("eks").create_nodegroup(
            clusterName=self.name,
            nodegroupName=group,
            subnets=[self.subnets[zone]],
            nodeRole=self.role,
            instanceTypes=[instance_type],
            scalingConfig={"minSize": 0, "maxSize": most, "desiredSize": 1},
            **more,
        )

    def add_gpu_nodes(
        self, group: str, instance_type: str, *, workload: str, zone: int = 0, most: int = 1
    ) -> None:
        """A node group like `add_nodes`, tainted for GPUs and labelled workload=`workload`."""
        self.add_nodes(
            group, instance_type, zone=zone, most=most, labels={"workload": workload}, taints=[GPU_TAINT]
        )

    def add_addon(self, name: str, service_account: str | None = None) -> None:
        """An EKS add-on; `service_account` gets the cluster's role."""
        eks = self.sandbox.client("eks")
        if service_account:
            eks.create_pod_identity_association(
                clusterName=self.name,
                namespace="kube-system",
                serviceAccount=service_account,
                roleArn=self.role,
            )
        eks.create_addon(clusterName=self.name, addonName=name)


@contextmanager
def start(
    root: Path,
    *,
    parts: Collection[str] = ("aws", "region", "prefect"),
    models: Mapping[str, Path] | None = None,
    speeds: Mapping[str, Any] | None = None,
    kubeconfig: Path | None = None,
    policies: Path | None = None,
) -> Iterator[Sandbox]:
    """Run a sandbox in the folder `root` for as long as the block lasts.

    Args:
        root: an empty folder.
        parts: of "aws", "hub", "region" (which has a hub too) and "prefect".
        models: folders to publish on the hub, by repository.
        speeds: fields of Settings that are to be other than in SPEEDS, e.g. {"cluster_boot_seconds": 1.0}.
        kubeconfig: a control plane of somebody else's, to be used instead of the sandbox's own.
        policies: a folder of IAM policies, NAME.json each; `environment` has credentials with these and no others.

    Raises:
        SandboxError: a part ended or did not get ready; the text has the end of its log.
    """
    from slipway_sandbox.loopback import plan_settings
    from slipway_sandbox.parts import Parts

    settings = plan_settings(root, kubeconfig=kubeconfig, policies=policies, **{**SPEEDS, **(speeds or {})})
    published = ",".join(f"{repo}={folder}" for repo, folder in (models or {}).items())
    running = Parts(settings, parts, {"SLIPWAY_SANDBOX_HUB_MODELS": published})
    try:
        running.start()
        running.wait()
        pids = {name: child.pid for name, child in running.children.items()}
        yield Sandbox(running.variables, pids, running.settings)
    finally:
        running.stop()


def make_models(folder: Path) -> Path:
    """Write the hub's small models below `folder`; the folder that has them as NAME/REVISION, e.g. tiny-llama/main."""
    from slipway_sandbox.hub.models import make_all

    return make_all(folder, {})


def write_engine(folder: Path, first_token_seconds: float, inter_token_seconds: float) -> list[str]:
    """Make a folder the state of one vLLM stand-in that runs by itself, with SLIPWAY_SANDBOX_ROOT; its command, before vLLM's own words."""
    ports: dict[str, Any] = dict.fromkeys(
        ("aws_port", "control_port", "hub_port", "cdn_port", "metrics_port", "prefect_port"), 1
    )
    timing = EngineTiming(0.05, 0.02, first_token_seconds, inter_token_seconds)
    Settings(root=folder, network="127.77", engine=timing, **ports).save()
    return [sys.executable, "-m", "slipway_sandbox.images.vllm"]


def engine_flags(version: str) -> dict[str, str]:
    """The kind of every flag the sandbox's vLLM knows, by each of its spellings. Raises FileNotFoundError."""
    file = Path(__file__).parent / "images" / "vllm" / f"flags-{version}.json"
    table: dict[str, list[str]] = json.loads(file.read_text())
    return {spelling: kind for kind, flags in table.items() for f in flags for spelling in f.split("/")}


def make_prefect_home(folder: Path) -> Path:
    """A PREFECT_HOME whose database is migrated already, where `make install` has made one to copy."""
    from slipway_sandbox.prefect_store import lay_out

    lay_out(folder)
    return folder


@pytest.fixture(scope="session")
def sandbox_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """AWS alone: EKS clusters get an endpoint nobody listens on."""
    with start(tmp_path_factory.mktemp("aws"), parts=("aws",)) as running:
        yield running


@pytest.fixture(scope="session")
def sandbox_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    """An EKS cluster with one node of one GPU (workload=inference-gpu), Pod Identity and the EBS CSI driver."""
    with start(tmp_path_factory.mktemp("cluster"), parts=("aws", "region")) as running:
        made = running.make_cluster("sandbox-cluster")
        made.add_gpu_nodes("gpu", "g5.2xlarge", workload="inference-gpu", most=2)
        made.add_addon("aws-ebs-csi-driver", "ebs-csi-controller-sa")
        made.add_addon("eks-pod-identity-agent")
        yield made


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """All of the sandbox, as `slipway sandbox up` starts it, and quicker."""
    speeds = {"engine": EngineTiming(load_seconds=0.2)}
    with start(tmp_path_factory.mktemp("sandbox"), speeds=speeds) as running:
        yield running


@pytest.fixture
def faults(sandbox: Sandbox) -> Iterator[Faults]:
    """The switches of this folder's sandbox, all off again afterwards."""
    yield sandbox.faults
    sandbox.faults.clear()

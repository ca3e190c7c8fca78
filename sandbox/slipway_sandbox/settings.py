"""Where one sandbox lives and how fast its clouds are: read by every part, written once by the supervisor."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

ACCOUNT_ID = "123456789012"  # moto's own default account
ACCESS_KEY = "AKIASLIPWAYSANDBOX00"
DEPLOYER_KEY = "AKIASLIPWAYDEPLOYER0"  # of who uses a sandbox with --iam
SECRET_KEY = "slipway-sandbox-only-not-a-secret"
DEFAULT_REGION = "us-east-1"


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the text says what to do."""


@dataclass(frozen=True)
class EngineTiming:
    """How fast the engine stand-in behaves on its imaginary GPU. Times in seconds."""

    load_seconds: float = 0.8
    compile_seconds: float = 0.3
    first_token_seconds: float = 0.030
    inter_token_seconds: float = 0.004


@dataclass(frozen=True)
class Settings:
    """One sandbox. All ports are on 127.0.0.1; `network` is the 127.N block of its pods and services.

    Pods get addresses `{network}.1.1` to `{network}.99.254`, cluster IPs `{network}.100.1` to `.199.254`,
    load balancers `{network}.200.1` to `.250.254`, nodes' kubelets `{network}.251.1` to `.254.254`.
    """

    root: Path
    network: str
    aws_port: int
    control_port: int
    hub_port: int
    cdn_port: int
    metrics_port: int
    prefect_port: int
    region: str = DEFAULT_REGION
    policies: str | None = (
        None  # a folder of IAM policies, NAME.json each: who uses the sandbox has these and no others
    )
    kubeconfig: str | None = None  # a control plane of somebody else's, instead of the embedded one
    engine_program: str | None = None  # a real `vllm`, a CPU build, that pods run instead of the stand-in
    litellm_python: str | None = None  # the Python of an environment that has LiteLLM, for pods of its image
    cluster_boot_seconds: float = 0.5
    nodegroup_boot_seconds: float = 0.3
    node_boot_seconds: float = 1.5
    addon_seconds: float = 0.1
    snapshot_seconds: float = 1.0  # an EBS snapshot's: minutes and more on EC2, by what was written
    vcpu_quota: float = 64.0  # vCPUs the account has of each EC2 quota
    scrape_seconds: float = 0.5
    crash_backoff_seconds: float = 1.0  # 10 in a real kubelet; image pulls and mounts wait in proportion
    memory_poll_seconds: float = 0.5  # how long a container may hold more memory than its limit unseen
    spot_notice_seconds: float = 2.0  # 120 on EC2
    drain_seconds: float = 15.0  # 900 on EKS: how long disruption budgets may hold up a node that is to go
    engine: EngineTiming = field(default_factory=EngineTiming)

    @property
    def aws_url(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def control_url(self) -> str:
        """The region's own door: control planes are made and deleted here by the EKS emulation."""
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}"

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def faults_file(self) -> Path:
        return self.root / "faults.json"

    @property
    def user_key(self) -> str:
        """The access key of who uses this sandbox."""
        return DEPLOYER_KEY if self.policies else ACCESS_KEY

    def certificate_file(self, arn: str) -> Path:
        """Key and certificate of one that was imported into ACM, one after the other as PEM."""
        return self.root / "acm" / f"{arn.rpartition('/')[2]}.pem"

    def aws_environment(self) -> dict[str, str]:
        """What any AWS SDK or terraform needs to reach this sandbox as its operator, who may do everything."""
        return {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def save(self) -> None:
        """Write settings.json, readable by its owner alone."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = dataclasses.asdict(self) | {"root": str(self.root)}
        path = self.root / "settings.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1))
        partial.chmod(0o600)
        partial.replace(path)

    @classmethod
    def load(cls, root: Path) -> Settings:
        """Read what `save` wrote. Raises FileNotFoundError where no sandbox was ever started."""
        document = json.loads((root / "settings.json").read_text())
        document["root"] = Path(document["root"])
        document["engine"] = EngineTiming(**document["engine"])
        return cls(**document)

    @classmethod
    def from_environment(cls) -> Settings:
        """The sandbox a child process belongs to, named by SLIPWAY_SANDBOX_ROOT."""
        return cls.load(Path(os.environ["SLIPWAY_SANDBOX_ROOT"]))

"""Real terraform over the sandbox's provider and AWS: what the tests here and those of infra/ share."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from slipway_sandbox.settings import Settings
from slipway_sandbox.terraform.install import install

REPOSITORY = Path(__file__).resolve().parents[3]
ROOTS = REPOSITORY / "infra" / "terraform"
DEADLINE = 120.0  # seconds one terraform command may take


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cloud:
    """A running AWS of the sandbox, without a region behind it."""

    settings: Settings
    environment: Mapping[str, str]

    def client(self, service: str) -> Any:
        settings = self.settings.aws_environment()
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            region_name=settings["AWS_REGION"],
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def cloud(root: Path) -> Iterator[Cloud]:
    """AWS on a free port, with clusters and node groups that are ready at once, until the block ends."""
    settings = Settings(
        root=root, network="127.99", aws_port=free_port(), control_port=1, hub_port=1, cdn_port=1, metrics_port=1,
        prefect_port=1, cluster_boot_seconds=0.6, nodegroup_boot_seconds=0.3, addon_seconds=0.2,
    )  # fmt: skip
    settings.save()
    environment = {**os.environ, **settings.aws_environment(), "SLIPWAY_SANDBOX_NO_REGION": "1"}
    environment.pop("TF_CLI_CONFIG_FILE", None)
    with (root / "aws.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "slipway_sandbox.aws", "--root", str(root)],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_port(settings.aws_port, process, root / "aws.log")
            yield Cloud(settings, environment | install(root, environment))
        finally:
            process.terminate()
            process.wait(timeout=10)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"slipway_sandbox.aws ended with {process.returncode}:\n{log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"slipway_sandbox.aws does not listen on {port}:\n{log.read_text()}")


@dataclass(frozen=True)
class Finished:
    code: int
    text: str


@dataclass
class Workspace:
    """One folder with a configuration, and terraform in it."""

    folder: Path
    environment: Mapping[str, str]
    variables: dict[str, Any] = field(default_factory=dict)

    def run(self, *arguments: str, code: int = 0, **variables: Any) -> Finished:
        """Run terraform; asserts its exit code. Variables go in by file, on top of the workspace's own."""
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(self.variables | variables))
        terraform = shutil.which("terraform", path=self.environment["PATH"])
        assert terraform, "no terraform on PATH, and none was supplied"
        done = subprocess.run(
            [terraform, *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, (
            f"terraform {' '.join(arguments)}: {done.returncode}\n{done.stdout[-6000:]}"
        )
        return Finished(done.returncode, done.stdout)

    def init(self, *options: str) -> None:
        self.run("init", "-input=false", "-no-color", *options)

    def apply(self, **variables: Any) -> Finished:
        return self.run("apply", "-input=false", "-no-color", "-auto-approve", **variables)

    def plan(self, *options: str, changes: bool, **variables: Any) -> Finished:
        """`changes`: whether the plan must hold some."""
        code = 2 if changes else 0
        arguments = ("plan", "-input=false", "-no-color", "-detailed-exitcode", *options)
        return self.run(*arguments, code=code, **variables)

    def planned(self, **variables: Any) -> dict[str, str]:
        """The action of a plan by address: create, update, replace or delete. The plan is kept as `planned`."""
        text = self.run("plan", "-input=false", "-json", "-out=planned", **variables).text
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        changes = [event["change"] for event in events if event["type"] == "planned_change"]
        return {c["resource"]["addr"]: c["action"] for c in changes if c["action"] != "read"}

    def outputs(self) -> dict[str, Any]:
        shown = json.loads(self.run("output", "-json").text)
        return {name: entry["value"] for name, entry in shown.items()}

    def state(self) -> dict[str, Any]:
        """The values of every managed resource by address."""
        shown = json.loads(self.run("show", "-json").text)
        resources = shown.get("values", {}).get("root_module", {}).get("resources", [])
        return {r["address"]: r["values"] | {"__tainted": r.get("tainted", False)} for r in resources}


def copied(
    root: str, to: Path, environment: Mapping[str, str], variables: dict[str, Any] | None = None
) -> Workspace:
    """A root module in a folder of its own: a sandbox never runs in the repository, whose lock file is another's."""
    shutil.copytree(ROOTS / root, to, ignore=shutil.ignore_patterns(".terraform*"))
    return Workspace(to, environment, dict(variables or {}))

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from slipway_sandbox.settings import ACCOUNT_ID
from slipway_sandbox.terraform.install import ToolMissing, install
from slipway_sandbox.terraform.workspace import Workspace
from tests.terraform.cloud import Cloud
from tests.terraform.conftest import HEADER

SLOW = """
resource "terraform_data" "first" {}

resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "sleep 60"
  }
}
"""


def machine(folder: Path, *tools: str) -> dict[str, str]:
    """The environment of a machine that has these tools and no other."""
    folder.mkdir()
    for name in tools:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


def test_a_machine_that_has_the_tools_keeps_its_own(tmp_path: Path) -> None:
    added = install(tmp_path / "root", machine(tmp_path / "tools", "terraform", "helm"))
    assert "PATH" not in added
    assert not (tmp_path / "root" / "bin").exists()


def test_only_the_missing_tool_is_supplied(tmp_path: Path) -> None:
    added = install(tmp_path / "root", machine(tmp_path / "tools", "terraform"))
    assert added["PATH"] == f"{tmp_path / 'root' / 'bin'}:{tmp_path / 'tools'}"
    assert [path.name for path in (tmp_path / "root" / "bin").iterdir()] == ["helm"]


def test_supplied_tools_can_be_forced(tmp_path: Path) -> None:
    environment = machine(tmp_path / "tools", "terraform", "helm") | {"SLIPWAY_SANDBOX_SUPPLY": "terraform"}
    install(tmp_path / "root", environment)
    assert [path.name for path in (tmp_path / "root" / "bin").iterdir()] == ["terraform"]


def test_a_tool_that_came_later_takes_over(tmp_path: Path) -> None:
    environment = machine(tmp_path / "tools", "helm")
    added = install(tmp_path / "root", environment)
    (tmp_path / "tools" / "terraform").write_text("#!/bin/sh\n")
    (tmp_path / "tools" / "terraform").chmod(0o755)
    assert "PATH" not in install(tmp_path / "root", environment | added)
    assert list((tmp_path / "root" / "bin").iterdir()) == []


def test_an_unknown_tool_cannot_be_forced(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kubectl"):
        install(tmp_path, {"PATH": "", "SLIPWAY_SANDBOX_SUPPLY": "kubectl"})


def test_a_tool_nothing_can_stand_in_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ToolMissing, match="no `terraform` on PATH"):
        install(tmp_path, {"PATH": ""})


REGISTRY = {"SLIPWAY_TERRAFORM_PROVIDER": "registry"}


def test_the_registry_leaves_terraforms_configuration_to_the_user(tmp_path: Path) -> None:
    environment = machine(tmp_path / "tools", "terraform", "helm") | REGISTRY
    added = install(tmp_path / "root", environment)
    assert "TF_CLI_CONFIG_FILE" not in added
    assert not (tmp_path / "root" / "terraform.rc").exists()


def test_the_configuration_of_an_earlier_start_does_not_last_into_the_registry(tmp_path: Path) -> None:
    environment = machine(tmp_path / "tools", "terraform", "helm")
    before = install(tmp_path / "root", environment)
    after = install(tmp_path / "root", environment | before | REGISTRY)
    assert after["TF_CLI_CONFIG_FILE"] == ""


def test_a_mirror_without_the_provider_is_refused_with_the_command_that_fills_one(tmp_path: Path) -> None:
    environment = machine(tmp_path / "tools", "terraform", "helm") | REGISTRY
    with pytest.raises(ToolMissing, match="terraform -chdir=infra/terraform/storage providers mirror"):
        install(tmp_path / "root", environment | {"SLIPWAY_TERRAFORM_MIRROR": str(tmp_path)})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SLIPWAY_TERRAFORM_PROVIDER": "real"}, "it is `registry`"),
        ({"SLIPWAY_TERRAFORM_MIRROR": "/mirror"}, "set SLIPWAY_TERRAFORM_PROVIDER=registry"),
    ],
)
def test_a_setting_nobody_knows_is_refused(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        install(tmp_path, {"PATH": "", **settings})


def supplied(aws: Cloud, root: Path) -> dict[str, str]:
    environment = {**aws.environment, "SLIPWAY_SANDBOX_SUPPLY": "terraform,helm"}
    return environment | install(root, environment)


def test_the_supplied_terraform_applies_through_the_mirror(aws: Cloud, tmp_path: Path) -> None:
    root = tmp_path / "a folder"  # a space: no interpreter's first line may break on it
    environment = supplied(aws, root)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "main.tf").write_text(
        HEADER + 'data "aws_partition" "here" {}\noutput "it" { value = data.aws_partition.here.partition }\n'
    )
    workspace = Workspace(folder, environment)
    assert json.loads(workspace.run("version", "-json").text)["terraform_version"] == "1.15.5"
    workspace.init()
    workspace.apply()
    assert workspace.outputs() == {"it": "aws"}
    workspace.plan(changes=False)
    workspace.run("nonsense", code=1)


@pytest.fixture(scope="module")
def registry(aws: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a sandbox in registry mode; the mirror it is named holds the sandbox's own provider."""
    folder = tmp_path_factory.mktemp("registry")
    mirror = folder / "filled"
    shutil.copytree(aws.settings.root / "terraform" / "mirror", mirror)
    environment = {k: v for k, v in aws.environment.items() if k != "TF_CLI_CONFIG_FILE"}
    environment |= REGISTRY | {"SLIPWAY_TERRAFORM_MIRROR": str(mirror)}
    added = install(folder / "root", environment)
    return environment | added


def test_a_provider_from_a_mirror_the_user_names_applies(registry: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        HEADER + 'resource "aws_cloudwatch_log_group" "it" { name = "/mirrored" }\n'
    )
    workspace = Workspace(tmp_path, registry)
    workspace.init()
    assert 'provider "registry.terraform.io/hashicorp/aws"' in (tmp_path / ".terraform.lock.hcl").read_text()
    workspace.apply()
    workspace.plan(changes=False)


def test_go_reaches_the_account_host_of_s3_control_through_the_wrapper(
    registry: dict[str, str], aws: Cloud, tmp_path: Path
) -> None:
    """terraform's `http` backend is Go as the real provider is: the name has no address, the proxy has the answer."""
    host = f"http://{ACCOUNT_ID}.127.0.0.1:{aws.settings.aws_port}"
    address = f"{host}/v20180820/tags/arn%3Aaws%3As3%3A%3A%3Aabsent"
    (tmp_path / "main.tf").write_text(
        f'terraform {{\n  backend "http" {{\n    address = "{address}"\n  }}\n}}\n'
    )
    Workspace(tmp_path, registry).init()  # 404 is "no state yet"; "no such host" would have ended it


def test_the_supplied_terraform_stops_when_it_is_asked_to(aws: Cloud, tmp_path: Path) -> None:
    environment = supplied(aws, tmp_path / "root")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "main.tf").write_text(SLOW)
    Workspace(folder, environment).init()
    command = [str(tmp_path / "root" / "bin" / "terraform"), "apply", "-auto-approve", "-no-color"]
    output = folder / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 30
            while "slow: Provisioning" not in output.read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
    state = json.loads((folder / "terraform.tfstate").read_text())
    assert "first" in {resource["name"] for resource in state["resources"]}

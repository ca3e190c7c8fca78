"""What cannot succeed is refused with one clear error, and nothing is made for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.faults import Faults
from tests.lifecycle.conftest import CHECKOUT, ENVIRONMENT, Region, edit

NOTHING_TOUCHED, PREFLIGHT, HUB = 2, 3, 1


@pytest.fixture(autouse=True)
def nothing_is_made(region: Region) -> None:
    """Before and after each of these the account is empty."""
    yield
    assert region.client("s3").list_buckets()["Buckets"] == []
    assert region.client("eks").list_clusters()["clusters"] == []
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    assert region.client("ec2").describe_vpcs(Filters=mine)["Vpcs"] == []


def test_a_model_nobody_has_is_answered_with_the_nearest_names(region: Region) -> None:
    region.deploy("tiny-lama").refused(NOTHING_TOUCHED, "no model 'tiny-lama'; did you mean tiny-llama")


def test_an_environment_nobody_has_is_answered_with_the_nearest_names(region: Region) -> None:
    done = region.run("deploy", "tiny-llama", "-e", "sandbx")
    done.refused(NOTHING_TOUCHED, "no environment 'sandbx'; did you mean sandbox")


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("engine", "max_model_len", "long", r"models/broken\.yaml:\d+: engine\.max_model_len: .*'long'"),
        (
            "engine",
            "max_model_length",
            8,
            r"models/broken\.yaml:\d+: .*unknown key; did you mean max_model_len",
        ),
    ],
    ids=["wrong type", "unknown key"],
)
def test_a_mistake_in_a_file_is_told_with_its_line(
    region: Region, section: str, key: str, value: object, said: str
) -> None:
    file = region.home / "models" / "broken.yaml"
    file.write_text(
        (region.home / "models" / "tiny-llama.yaml").read_text().replace("name: tiny-llama", "name: broken")
    )
    try:
        edit(file, {section: {key: value}})
        region.deploy("broken").refused(NOTHING_TOUCHED, said)
    finally:
        file.unlink()


def test_a_revision_that_does_not_exist(region: Region) -> None:
    region.deploy("tiny-llama", "--revision", "v9").refused(HUB, "v9")


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "gated"), ("hf_nobody", "token"), ("hf_sandbox_stranger", "accept")],
    ids=["no token", "a token nobody has", "a licence not accepted"],
)
def test_a_gated_model_one_is_not_let_into(region: Region, token: str, said: str) -> None:
    region.deploy("tiny-llama-gated", HF_TOKEN=token).refused(HUB, said)


def test_a_model_that_does_not_fit_the_gpu(region: Region) -> None:
    region.deploy("huge-llama").refused(PREFLIGHT, "GPU memory")


def test_an_account_that_may_start_no_gpu(region: Region, faults: Faults) -> None:
    faults.set("quota-zero")
    region.deploy().refused(PREFLIGHT, "quota")


def test_a_machine_without_terraform(region: Region, tmp_path: Path) -> None:
    for folder in region.environment["PATH"].split(os.pathsep):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            link = tmp_path / program.name
            if program.name != "terraform" and not link.is_symlink():
                link.symlink_to(program)
    region.deploy(PATH=str(tmp_path)).refused(1, "terraform is not on PATH", "install terraform")


def test_nothing_that_is_deployed_to_look_at_or_scale(region: Region) -> None:
    region.run("scale-down", "tiny-llama", "-e", ENVIRONMENT).refused(NOTHING_TOUCHED, "nothing is deployed")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "sandbox", "up", "--root", str(tmp_path), "--detach", "--port", str(port)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr

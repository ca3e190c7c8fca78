"""Staging as Prefect runs it, in a process and a Prefect of its own: what it shows, and what it never shows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from slipway_sandbox.testing import HUB_READER, Sandbox, make_prefect_home

from tests.support.builders import ROOT

TOKEN = HUB_READER
UNKNOWN = "hf_nobody"  # what the environment has: the Prefect Secret comes first
GATED = "slipway/tiny-llama-gated"

RUN = """
import json, os, sys
from pathlib import Path
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from tasks.records.results import StorageOutputs
from tasks.staging.task import inspect_model, stage_model
from tests.support.builders import a_model, an_environment

@flow
def staging(repo: str, bucket: str):
    storage = StorageOutputs(bucket=bucket, bucket_arn="", kms_key_arn="", hub_token_secret_arn="")
    inspection = inspect_model(a_model(source={"repo": repo}))
    stage_model(an_environment(), storage, inspection)

Secret(value=os.environ.pop("SECRET")).save("hub-token")
staging(sys.argv[1], sys.argv[2])
with get_client(sync_client=True) as client:
    artifacts = [a.model_dump(mode="json") for a in client.read_artifacts()]
print("ARTIFACTS " + json.dumps(artifacts))
print("ARGV " + Path("/proc/self/cmdline").read_text().replace(chr(0), " "))
"""


@dataclass(frozen=True)
class Ran:
    """What a run left: its output, its artifacts, every file of its Prefect, every object in its bucket."""

    output: str
    artifacts: list[dict[str, Any]]
    kept: dict[str, bytes]


@pytest.fixture(scope="module")
def ran(sandbox: Sandbox, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    s3.create_bucket(Bucket="as-a-task")
    home = make_prefect_home(tmp_path_factory.mktemp("prefect"))
    environment = sandbox.variables(
        PREFECT_HOME=str(home),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        HF_TOKEN=UNKNOWN,
        SECRET=TOKEN,
    )
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"):  # a Prefect of its own
        del environment[name]
    done = subprocess.run(
        [sys.executable, "-c", RUN, GATED, "as-a-task"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    [line] = [line for line in done.stdout.splitlines() if line.startswith("ARTIFACTS ")]
    kept = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    for item in s3.list_objects_v2(Bucket="as-a-task")["Contents"]:
        kept[item["Key"]] = s3.get_object(Bucket="as-a-task", Key=item["Key"])["Body"].read()
    return Ran(output, json.loads(line.removeprefix("ARTIFACTS ")), kept)


@pytest.mark.timeout(200)
def test_the_token_is_in_no_log_artifact_database_object_or_command(ran: Ran) -> None:
    assert any(name.endswith("prefect.db") for name in ran.kept)
    assert any(name.endswith("manifest.json") for name in ran.kept)
    assert "ARGV " in ran.output
    for token in (TOKEN, UNKNOWN):
        assert token not in ran.output
        assert [name for name, body in ran.kept.items() if token.encode() in body] == []


@pytest.mark.timeout(200)
def test_the_prefect_secret_comes_before_the_environment(ran: Ran) -> None:
    assert f"{GATED}/" in "".join(ran.kept)  # the environment's token would have been refused


@pytest.mark.timeout(200)
def test_progress_is_an_artifact_of_the_run_and_a_line_on_the_terminal(ran: Ran) -> None:
    [progress] = [one for one in ran.artifacts if one["type"] == "progress" and one["key"] == "staging"]
    assert progress["data"] == 100.0
    assert "(100 %)" in progress["description"]
    assert "files" in progress["description"]
    assert "MiB (100 %)" in ran.output

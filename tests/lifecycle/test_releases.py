"""A second release that goes wrong, in every way there is: what served before serves again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from sandbox.faults import Faults
from tests.lifecycle.conftest import BUCKET, ENVIRONMENT, Done, Region, edit

FAILED, VALIDATION, INTERRUPTED = 1, 4, 130
SECOND = ("deploy", "tiny-llama", "-e", ENVIRONMENT, "--revision", "v1")


@pytest.fixture(scope="module")
def first(deployed: None, region: Region) -> str:
    """The release that serves, and shall serve after each of these."""
    serving = region.serving().serving
    assert serving
    return serving


@pytest.fixture(autouse=True)
def the_first_serves_again(first: str, region: Region) -> Iterator[None]:
    yield
    serving = region.serving()
    assert (serving.serving, serving.rolling) == (first, None)
    assert region.complete()


def test_s3_refuses_a_write_while_staging(region: Region, faults: Faults) -> None:
    faults.set("hub-slow", value=1_000_000)
    command = region.start(*SECOND)
    command.wait_for(r"staging: .* of 22\.9 MiB")
    faults.set("s3-denied", target="PutObject")
    Done(command.end(), command.output).refused(FAILED, "error: .*AWS denies PutObject")


def test_the_image_does_not_exist(region: Region, faults: Faults) -> None:
    file = region.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    faults.set("image-not-found", target="*:v9.9.9")
    try:
        edit(file, {"engine": {"image": "vllm/vllm-openai:v9.9.9"}})
        region.deploy().refused(FAILED, "error: .*image", "v9.9.9")
    finally:
        file.write_text(before)


def test_the_gpu_runs_out_of_memory(region: Region, faults: Faults) -> None:
    faults.set("engine-oom", count=1)
    region.run(*SECOND).refused(FAILED, "error: .*memory")


def test_the_engine_serves_another_name(region: Region, faults: Faults) -> None:
    faults.set("engine-wrong-name", count=1)
    region.run(*SECOND).refused(FAILED, "error: .*name")


def test_ctrl_c_while_it_loads(region: Region, faults: Faults) -> None:
    faults.set("engine-slow-load", value=10, count=1)
    command = region.start(*SECOND)
    command.wait_for(r"rollout: pods of release \w+: loading")
    assert command.interrupt() < 60
    assert command.process.returncode == INTERRUPTED
    assert "error: interrupted" in command.output
    assert "Traceback" not in command.output


def test_a_load_validation_that_fails_keeps_its_evidence(region: Region, faults: Faults) -> None:
    faults.set("engine-slow-token", value=2)
    done = region.run(*SECOND).refused(VALIDATION, "error: load validation of tiny-llama: FAIL")
    release = re.search(r"release (\w+) \(bundle", done.output)
    assert release
    key = f"releases/{ENVIRONMENT}/tiny-llama/{release[1]}.json"
    s3 = region.client("s3")
    kept = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert '"verdict": "FAIL"' in kept
    beside = s3.list_objects_v2(Bucket=BUCKET, Prefix=key.replace(".json", "/load-report-"))["Contents"]
    page = next(one["Key"] for one in beside if one["Key"].endswith(".html"))
    assert page in done.output
    assert b'<span class="verdict FAIL">' in s3.get_object(Bucket=BUCKET, Key=page)["Body"].read()


def test_a_sweep_writes_what_it_found_and_changes_nothing(region: Region, first: str) -> None:
    """Whether this machine tells a knee is its own affair; that what was tried is kept, and told, is not."""
    done = region.run("sweep", "tiny-llama", "-e", ENVIRONMENT, "--step-seconds", "4", "--minutes", "1.5")
    key = f"releases/{ENVIRONMENT}/tiny-llama/{first}.json"
    kept = json.loads(region.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert len(kept["sweep"]["steps"]) > 1
    assert kept["proven_by"]["verdict"] == "PASS"
    if kept["sweep"]["knee"] is None:
        done.refused(VALIDATION, "error: the knee of tiny-llama in sandbox cannot be told: ")
        assert kept["sweep"]["refused"] in done.output
    else:
        assert f"engine.max_num_seqs: {kept['sweep']['max_num_seqs']}" in done.succeeded().output

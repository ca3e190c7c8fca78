"""A second release that goes wrong, in every way there is: what served before serves again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Faults

from tasks.releases.ledger import Ledger
from tasks.releases.records import ReleaseRecord
from tests.support.commands import BUCKET, ENVIRONMENT, Done, Region, edit

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


def test_a_strategy_there_is_no_gpu_for_is_refused_with_nothing_moved(region: Region) -> None:
    file = region.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    try:
        edit(file, {"rollout": {"strategy": "blue-green"}})
        region.run(*SECOND).refused(FAILED, "error: .*blue-green needs 1 GPU free .*: nothing was moved")
    finally:
        file.write_text(before)


def kept(region: Region, output: str) -> ReleaseRecord:
    """What the ledger has of the release a deploy's output names."""
    found = re.search(r"release (\w+) \(bundle", output)
    assert found
    return Ledger(region.client("s3"), BUCKET, ENVIRONMENT, "tiny-llama").record(found[1])


def test_a_rollout_that_was_killed_is_undone_by_rollback_and_a_second_one_changes_nothing(
    region: Region, first: str, faults: Faults
) -> None:
    faults.set("engine-slow-load", value=30, count=1)
    command = region.start(*SECOND)
    command.wait_for(r"rollout: pods of release \w+: loading")
    command.kill()
    assert region.serving().rolling
    done = region.run("rollback", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert f"release {first} serves again" in done.output
    failure = kept(region, command.output).failure
    assert failure
    assert "the run that rolled it out ended before its gates" in failure.cause
    again = region.run("rollback", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert f"{first} was put back already, and nothing was proven since" in again.output


def test_what_the_gate_said_is_kept_with_the_release(region: Region, faults: Faults) -> None:
    faults.set("engine-oom", count=1)
    done = region.run(*SECOND).refused(FAILED)
    failure = kept(region, done.output).failure
    assert failure
    assert "too little memory" in failure.cause
    assert any("CUDA out of memory" in line for line in failure.evidence)


def test_an_undo_for_the_dead_touches_nothing_where_no_rollout_is_unfinished(
    region: Region, first: str
) -> None:
    before = region.serving()
    done = region.run("rollback", "tiny-llama", "-e", ENVIRONMENT, "--unfinished").succeeded()
    assert "nothing was put back" in done.output
    assert region.serving() == before


def test_a_load_validation_that_fails_keeps_its_evidence(region: Region, faults: Faults) -> None:
    faults.set("engine-slow-token", value=4)
    done = region.run(*SECOND).refused(VALIDATION, "error: load validation of tiny-llama: FAIL")
    record = kept(region, done.output)
    assert record.report
    assert record.report.verdict == "FAIL"
    assert record.failure
    assert record.failure.cause == "load validation: FAIL"
    s3 = region.client("s3")
    folder = f"releases/{ENVIRONMENT}/tiny-llama/{record.release.id}/load-report-"
    beside = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]
    page = next(one["Key"] for one in beside if one["Key"].endswith(".html"))
    assert page in done.output
    assert b'<span class="verdict FAIL">' in s3.get_object(Bucket=BUCKET, Key=page)["Body"].read()


def test_a_sweep_writes_what_it_found_and_changes_nothing(region: Region, first: str) -> None:
    """Whether this machine tells a knee is its own affair; that what was tried is kept, and told, is not."""
    done = region.run("sweep", "tiny-llama", "-e", ENVIRONMENT, "--step-seconds", "4", "--minutes", "1.5")
    key = f"releases/{ENVIRONMENT}/tiny-llama/{first}.json"
    found = json.loads(region.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert len(found["sweep"]["steps"]) > 1
    assert found["proven_by"]["verdict"] == "PASS"
    if found["sweep"]["knee"] is None:
        done.refused(VALIDATION, "error: the knee of tiny-llama in sandbox cannot be told: ")
        assert found["sweep"]["refused"] in done.output
    else:
        assert f"engine.max_num_seqs: {found['sweep']['max_num_seqs']}" in done.succeeded().output

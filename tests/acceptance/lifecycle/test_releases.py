"""A second release that goes wrong, in every way there is: what served before serves again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from slipway_sandbox.testing import Faults

from tasks.releases.ledger import Ledger
from tasks.releases.records import ReleaseRecord
from tests.support.commands import Command, Done
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

FAILED, REFUSED, VALIDATION = 1, 3, 4
SECOND = ("deploy", "tiny-llama", "-e", ENVIRONMENT, "--revision", "v1")
# Seconds a stage is held: longer than it takes to see it and to stop the run.
HOLD = 300.0

Start = Callable[..., Command]

# each takes a deployment or two; tests/acceptance/tasks and tests/unit have the same failures without one
in_the_long_ring = pytest.mark.long


@pytest.fixture(autouse=True)
def first(serving: str, project: Project) -> Iterator[str]:
    """The release that serves, and serves again after each of these."""
    yield serving
    now = project.serving()
    assert (now.serving, now.rolling) == (serving, None)
    assert project.complete()


@in_the_long_ring
def test_s3_refuses_a_write_while_staging(project: Project, start: Start, faults: Faults) -> None:
    unstage(project)
    faults.set(
        "aws-slow", target=f"s3 [PU]* {BUCKET}/slipway/*.safetensors", value=HOLD
    )  # PutObject, UploadPart
    command = start(*SECOND)
    command.wait_for(r"staging: .* of 22\.9 MiB")
    faults.set("s3-denied", target="PutObject")
    faults.clear("aws-slow")
    Done(command.end(), command.output).refused(FAILED, "error: .*s3:PutObject is not allowed")


def unstage(project: Project) -> None:
    """Take every commit but the one that serves out of the bucket."""
    s3, kept = project.client("s3"), project.commit()
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="slipway/tiny-llama/").get("Contents", [])
    for item in listed:
        if f"/{kept}/" not in item["Key"]:
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])


@in_the_long_ring
def test_the_image_does_not_exist(project: Project, faults: Faults) -> None:
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    faults.set("image-not-found", target="*:v9.9.9")
    try:
        edit(file, {"engine": {"image": "vllm/vllm-openai:v9.9.9"}})
        project.deploy().refused(REFUSED, "image pull", r"there is no vllm/vllm-openai v9\.9\.9")
    finally:
        file.write_text(before)


@in_the_long_ring
def test_the_engine_serves_another_name(project: Project, faults: Faults) -> None:
    faults.set("engine-wrong-name", count=1)
    project.run(*SECOND).refused(FAILED, "error: .*name")


def wait_for_load(command: Command, faults: Faults) -> None:
    """Until the new pod's load has taken the one fault, which would else hold the pod that is put back."""
    command.wait_until(lambda: not faults.active(), "a load that is held")


@in_the_long_ring
def test_ctrl_c_while_it_loads(project: Project, start: Start, faults: Faults) -> None:
    faults.set("engine-slow-load", value=HOLD, count=1)
    command = start(*SECOND)
    wait_for_load(command, faults)
    command.interrupt().was_interrupted()


@in_the_long_ring
def test_a_strategy_there_is_no_gpu_for_is_refused_with_nothing_moved(project: Project) -> None:
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    try:
        edit(file, {"rollout": {"strategy": "blue-green"}})
        project.run(*SECOND).refused(FAILED, "error: .*blue-green needs 1 GPU free .*: nothing was moved")
    finally:
        file.write_text(before)


def kept(project: Project, output: str) -> ReleaseRecord:
    """What the ledger has of the release a deploy's output names."""
    found = re.search(r"release (\w+) \(bundle", output)
    assert found
    return Ledger(project.client("s3"), BUCKET, ENVIRONMENT, "tiny-llama").record(found[1])


def test_a_rollout_that_was_killed_is_undone_by_recover_and_a_rollback_after_it_changes_nothing(
    project: Project, first: str, start: Start, faults: Faults
) -> None:
    faults.set("engine-slow-load", value=HOLD, count=1)
    command = start(*SECOND)
    wait_for_load(command, faults)
    command.kill()
    assert project.serving().rolling
    # over every environment: the project has some that are not deployed
    done = project.run("recover").succeeded()
    assert f"release {first} serves again" in done.output
    assert f"tiny-llama in {ENVIRONMENT}: {first} serves" in done.output
    assert "no rollout is unfinished" in project.run("recover").succeeded().output
    failure = kept(project, command.output).failure
    assert failure
    assert "the run that rolled it out ended before its gates" in failure.cause
    again = project.run("rollback", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert f"{first} was put back already, and nothing was proven since" in again.output


def test_what_the_gate_said_is_kept_with_the_release(project: Project, faults: Faults) -> None:
    faults.set("engine-oom", count=1)
    done = project.run(*SECOND).refused(FAILED)
    failure = kept(project, done.output).failure
    assert failure
    assert "too little memory" in failure.cause
    assert any("CUDA out of memory" in line for line in failure.evidence)
    # its pod is gone by now: the log is beside the release
    address = str(failure.next_command).partition("aws s3 cp ")[2].removesuffix(" -")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    log = project.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert "Initializing a V1 LLM engine" in log
    assert "CUDA out of memory" in log


def test_an_undo_for_the_dead_touches_nothing_where_no_rollout_is_unfinished(
    project: Project, first: str
) -> None:
    before = project.serving()
    done = project.run("rollback", "tiny-llama", "-e", ENVIRONMENT, "--unfinished").succeeded()
    assert "nothing was put back" in done.output
    assert project.serving() == before


def test_a_load_validation_that_fails_keeps_its_evidence(project: Project, faults: Faults) -> None:
    faults.set("engine-slow-token", value=5)
    done = project.run(*SECOND).refused(VALIDATION, "error: load validation of tiny-llama: FAIL")
    record = kept(project, done.output)
    assert record.report
    assert record.report.verdict == "FAIL"
    assert record.failure
    assert record.failure.cause == "load validation: FAIL"
    s3 = project.client("s3")
    folder = f"releases/{ENVIRONMENT}/tiny-llama/{record.release.id}/load-report-"
    beside = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]
    page = next(one["Key"] for one in beside if one["Key"].endswith(".html"))
    assert page in done.output
    assert b'<span class="verdict FAIL">' in s3.get_object(Bucket=BUCKET, Key=page)["Body"].read()


def test_a_sweep_writes_what_it_found_and_changes_nothing(project: Project, first: str) -> None:
    """Whether this machine tells a knee is its own affair; that what was tried is kept, and told, is not."""
    done = project.run("sweep", "tiny-llama", "-e", ENVIRONMENT, "--step-seconds", "2", "--minutes", "0.8")
    key = f"releases/{ENVIRONMENT}/tiny-llama/{first}.json"
    found = json.loads(project.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert found["sweep"] and len(found["sweep"]["steps"]) > 1, done.output
    assert "sweep: job load-tiny-llama: asking from inside the cluster" in done.output
    assert project.asking_jobs() == []
    assert found["proven_by"]["verdict"] == "PASS"
    if found["sweep"]["knee"] is None:
        done.refused(VALIDATION, "error: the knee of tiny-llama in sandbox cannot be told: ")
        assert found["sweep"]["refused"] in done.output
    else:
        assert f"engine.max_num_seqs: {found['sweep']['max_num_seqs']}" in done.succeeded().output


@in_the_long_ring
def test_a_deploy_begins_with_the_rollout_where_what_is_before_it_is_there(
    project: Project, first: str
) -> None:
    project.deploy("tiny-llama").succeeded()  # an earlier test may have warmed another commit since
    done = project.deploy("tiny-llama", "--from-stage", "rollout").succeeded()
    assert f"release {first} is proven" in done.output
    for made in ("terraform", "helm", "staging:"):
        assert made not in done.output
    unstage(project)
    project.run(*SECOND, "--from-stage", "rollout").refused(FAILED, "is not whole")


@in_the_long_ring
def test_a_deploy_measures_from_inside_and_from_here_where_it_is_asked_to(project: Project) -> None:
    inside = project.deploy("tiny-llama", "--revalidate").succeeded()
    assert "rollout: job gate-tiny-llama: asking from inside the cluster" in inside.output
    assert "validation: job load-tiny-llama: asking from inside the cluster" in inside.output
    assert "downtime: every question was answered, measured at the gateway" in inside.output
    assert project.asking_jobs() == []
    here = project.deploy("tiny-llama", "--revalidate", "--from", "here").succeeded()
    assert "from inside the cluster" not in here.output
    assert "validation: PASS" in here.output


@in_the_long_ring
def test_ctrl_c_while_the_load_runs_in_the_cluster_leaves_nothing(project: Project, start: Start) -> None:
    run = start("deploy", "tiny-llama", "-e", ENVIRONMENT, "--revalidate")
    run.wait_for(r"validation: \d+ of \d+ requests")
    run.interrupt().was_interrupted()
    assert project.asking_jobs() == []


@in_the_long_ring
def test_an_image_for_gate_and_load_that_does_not_exist_undoes_the_release(
    project: Project, faults: Faults
) -> None:
    file = project.home / "environments" / "sandbox.yaml"
    before = file.read_text()
    faults.set("image-not-found", target="*:no-such")
    try:
        edit(file, {"validation": {"image": "registry.acme/python:no-such"}})
        done = project.run(*SECOND).refused(FAILED, "error: .*registry.acme/python:no-such cannot be pulled")
    finally:
        file.write_text(before)
    assert "downtime is not measured: the image registry.acme/python:no-such cannot be pulled" in done.output
    assert "set validation.image in environments/sandbox.yaml" in done.output
    assert project.asking_jobs() == []

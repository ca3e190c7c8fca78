"""What a sweep measured is rolled out with --apply, and kept by the next deploy until what it was measured on changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD = "tiny-llama", "vllm-tiny-llama"
SCALED = f"/apis/keda.sh/v1alpha1/namespaces/llm/scaledobjects/{WORKLOAD}"
# a busy machine makes the figures of a sweep contradict each other: then it is refused, and asked again
TRIES = 4
SWEEP = ("sweep", MODEL, "-e", ENVIRONMENT, "--step-seconds", "3", "--minutes", "2", "--apply")


@pytest.fixture
def file(project: Project) -> Iterator[Path]:
    """tiny-llama's file with few sequences, which is put back afterwards."""
    project.serve()
    path = project.home / "models" / f"{MODEL}.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    # so few that the knee is the engine's, and not this machine's
    document["engine"]["max_num_seqs"] = 4
    document["objectives"] = {"e2e": {"p95": "3s"}, "ttft": {"p95": "1s"}}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        yield path
    finally:
        path.write_text(before)


def drop_sequences(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    document["engine"].pop("max_num_seqs")
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def numbers(project: Project) -> tuple[int, int]:
    """What KEDA and vLLM are told now."""
    threshold = project.get(SCALED)["spec"]["triggers"][0]["metadata"]["threshold"]
    path = f"/apis/apps/v1/namespaces/llm/deployments/{WORKLOAD}"
    words: list[str] = project.get(path)["spec"]["template"]["spec"]["containers"][0]["args"]
    (most,) = (word.partition("=")[2] for word in words if word.startswith("--max-num-seqs="))
    return int(threshold), int(most)


def kept(project: Project) -> dict[str, Any]:
    key = f"releases/{ENVIRONMENT}/{MODEL}/measured.json"
    document: dict[str, Any] = yaml.safe_load(
        project.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    )
    return document


def test_what_was_measured_is_rolled_out_kept_and_told_stale(project: Project, file: Path) -> None:
    project.deploy().succeeded()
    assert numbers(project) == (16, 4)
    drop_sequences(file)
    for _ in range(TRIES):
        done = project.run(*SWEEP)
        if done.code == 0:
            break
    assert "is proven with them; later deploys keep them" in done.succeeded().output
    found = kept(project)
    measured = (found["requests_per_replica"], found["max_num_seqs"])
    assert numbers(project) == measured != (16, 128)

    # the next ordinary deploy, of a file that says something else about anything but these
    edit(file, {"scaling": {"cooldown": "40s"}})
    deployed = project.deploy().succeeded()
    assert f"as the sweep of {found['by']} measured" in deployed.output
    assert numbers(project) == measured
    said = project.run("status", "-e", ENVIRONMENT).succeeded().output
    assert f"scaling.requests_per_replica {measured[0]}: measured by the sweep of {found['by']}" in said

    edit(file, {"scaling": {"requests_per_replica": 7}})
    project.deploy().succeeded()
    assert numbers(project) == (7, measured[1])

    edit(file, {"engine": {"max_model_len": 1024}})
    assert "is stale: engine flags changed since" in project.deploy().succeeded().output
    assert numbers(project) == (7, 128)
    assert (
        "(what a sweep measured is stale: engine flags changed)"
        in project.run("status", "-e", ENVIRONMENT).output
    )

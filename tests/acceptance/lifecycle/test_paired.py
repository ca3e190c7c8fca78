"""A whole deploy with `rollout.pairs`: old and new release side by side, a verdict before traffic moves, and back on FAIL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.strategy import Strategy
from tasks.releases.ledger import Ledger
from tests.support.callers import Callers, calling
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

VALIDATION = 4
MODEL, PAIRED, BUCKET, CLUSTER = "tiny-llama", "paired", "slipway-paired-models", "slipway-paired"
# 20 %: a machine that other tests use, too
ASKED: dict[str, dict[str, Any]] = {
    "rollout": {"pairs": {"count": 64, "slower": 0.2}},
    "answers": {"max_tokens": 16},
}


def ledger(project: Project) -> Ledger:
    return Ledger(project.client("s3"), BUCKET, PAIRED, MODEL)


def serving(project: Project) -> str:
    found = ledger(project).serving()
    assert found.serving
    assert found.rolling is None
    return found.serving


def deployments(project: Project) -> set[str]:
    with project.sandbox.api(CLUSTER) as api:
        listed = api.get(f"/apis/apps/v1/namespaces/llm-{PAIRED}/deployments").raise_for_status().json()
    return {one["metadata"]["name"] for one in listed["items"]}


@pytest.fixture(scope="module")
def paired(project: Project) -> Iterator[Project]:
    """tiny-llama serves on a node of four GPUs, by a file that asks for pairs. All of it is taken down at the end."""
    another_environment(project, PAIRED, gpu={"instance_type": "g5.12xlarge", "max": 1})
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, ASKED)
    project.run("deploy", MODEL, "-e", PAIRED).succeeded()
    yield project
    project.run("teardown", "-e", PAIRED, "--models", "delete", "--volumes", "delete").succeeded()
    file.write_text(before)


@pytest.fixture
def callers(paired: Project) -> Iterator[Callers]:
    """Callers of the model, who never stop."""
    paired.run("endpoint", MODEL, "-e", PAIRED).succeeded()
    key = (paired.home / ".slipway" / "keys" / PAIRED).read_text()
    address = ledger(paired).record(serving(paired)).endpoint.base_url
    with calling(address, key, MODEL) as asking:
        yield asking


def test_the_same_weights_pass_beside_themselves_and_no_request_fails(
    paired: Project, callers: Callers
) -> None:
    before = serving(paired)
    done = paired.run("deploy", MODEL, "-e", PAIRED, "--revision", "v1").succeeded()
    assert "pairs: PASS: answers take " in done.output
    now = serving(paired)
    assert now != before
    record = ledger(paired).record(now)
    assert record.rollout
    assert record.rollout.strategy is Strategy.BLUE_GREEN
    assert record.paired
    assert (record.paired.verdict, record.paired.against) == ("PASS", before)
    assert record.paired.time
    assert record.paired.time.low <= record.paired.time.estimate <= record.paired.time.high
    assert record.paired.likeness
    assert record.paired.likeness.agreement == 1.0
    assert callers.failures == []
    assert len(callers.answers) > 50
    page = paired.run("evidence", MODEL, "-e", PAIRED).succeeded().output
    assert f"PASS: answers take {record.paired.time} longer than those of release {before}" in page


@pytest.mark.parametrize(
    ("fault", "seconds", "said", "slots"),
    [
        ("engine-slow-token", 0.1, r"pairs of tiny-llama: FAIL: answers take \+", 24),
        ("engine-altered-answers", None, "pairs of tiny-llama: FAIL: .*greedy tokens", 16),
    ],
)
def test_a_release_that_is_slower_or_answers_otherwise_gets_no_traffic_and_is_put_back(
    paired: Project,
    callers: Callers,
    faults: Faults,
    fault: str,
    seconds: float | None,
    said: str,
    slots: int,
) -> None:
    before = serving(paired)
    edit(paired.home / "models" / f"{MODEL}.yaml", {"engine": {"max_num_seqs": slots}})
    faults.set(fault, target="green-*", value=seconds)
    paired.run("deploy", MODEL, "-e", PAIRED, "--revision", "v1").refused(VALIDATION, f"error: {said}")
    assert serving(paired) == before
    assert deployments(paired) == {"llm-gateway", f"vllm-{MODEL}"}
    assert callers.failures == []
    assert len(callers.answers) > 20

"""A deploy whose release is asked beside the one that serves, by the flow: it stays, or what serves goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Faults

from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

VALIDATION = 4
MODEL = "tiny-llama"
GPU_NODES = {"provisioner": "node-group", "instance_type": "g5.2xlarge", "max": 6}


@pytest.fixture(scope="module", autouse=True)
def paired(project: Project) -> Iterator[None]:
    """Two GPU nodes, and a clone of the volume for each replica: green starts where a GPU is free."""
    file, environment = (
        project.home / "models" / f"{MODEL}.yaml",
        project.home / "environments" / f"{ENVIRONMENT}.yaml",
    )
    before = file.read_text(), environment.read_text()
    edit(environment, {"cluster": {"gpu": {"desired": 2, **GPU_NODES}}})
    edit(
        file,
        {
            "rollout": {"pairs": {"count": 48, "slower": 0.9}},
            "answers": {"max_tokens": 16},
            "cache": {"snapshot": "always"},
        },
    )
    project.deploy(MODEL).succeeded()
    yield
    for path, text in zip((file, environment), before, strict=True):
        path.write_text(text)


def another_release(project: Project, sequences: int) -> None:
    edit(project.home / "models" / f"{MODEL}.yaml", {"engine": {"max_num_seqs": sequences}})


def test_a_release_like_the_one_before_stays_and_its_pairs_are_signed(project: Project) -> None:
    before = project.serving(MODEL).serving
    another_release(project, 31)
    done = project.deploy(MODEL).succeeded()
    assert "both releases are asked in pairs" in done.output
    assert f"pairs: 16 prompts, 3 times each, of release {before} and the new one in turn" in done.output
    now = project.serving(MODEL).serving
    assert now
    assert now != before
    record = Ledger(project.client("s3"), BUCKET, ENVIRONMENT, MODEL).record(now)
    assert record.paired
    assert (record.paired.against, record.paired.verdict == "FAIL") == (before, False)
    page = project.run("evidence", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert f"| pairs | {record.paired.verdict}: answers take " in page


def test_a_release_that_answers_otherwise_gets_no_traffic(project: Project, faults: Faults) -> None:
    before = project.serving(MODEL).serving
    another_release(project, 30)
    faults.set("engine-altered-answers", target="green-*")
    project.deploy(MODEL).refused(VALIDATION, f"error: pairs of {MODEL}: FAIL: ", "greedy tokens")
    now = project.serving(MODEL)
    assert (now.serving, now.rolling) == (before, None)
    assert project.complete(MODEL)

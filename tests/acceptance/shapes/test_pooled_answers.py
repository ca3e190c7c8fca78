"""The proof of answers of an embedding model and of a reranker: the same vectors and scores stay, others are put back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.answers import AnswersReport
from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

VALIDATION = 4
MODELS = ("tiny-embedding", "tiny-reranker")
TOLD = {"tiny-embedding": "embeddings are", "tiny-reranker": "scores differ by"}


def ledger(project: Project, model: str) -> Ledger:
    return Ledger(project.client("s3"), BUCKET, ENVIRONMENT, model)


def answered(project: Project, model: str) -> tuple[str, AnswersReport]:
    found = ledger(project, model).last_answers()
    assert found
    return found


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, project: Project) -> Iterator[str]:
    """A model that serves and has answered its golden prompts; its file is put back at the end."""
    name = str(request.param)
    file = project.home / "models" / f"{name}.yaml"
    before = file.read_text()
    edit(
        file,
        {
            "answers": {"seed": 1},
            "load": {"rate": 12, "warmup": "500ms", "window": "3s"},
            "objectives": {"e2e": {"p95": "6s"}, "each": {"e2e": "6s"}},
        },
    )
    done = project.deploy(name).succeeded()
    assert f"job answers-{name}: asking from inside the cluster" in done.output
    assert "answers: PASS: not compared: no proven release has answered yet" in done.output
    yield name
    file.write_text(before)


def another_release(project: Project, model: str, sequences: int) -> None:
    """A flag that says nothing of answers makes a release."""
    edit(project.home / "models" / f"{model}.yaml", {"engine": {"max_num_seqs": sequences}})


def test_a_release_with_the_same_answers_stays(model: str, project: Project) -> None:
    before, first = answered(project, model)
    assert first.deterministic
    another_release(project, model, 31)
    done = project.deploy(model).succeeded()
    assert f"answers: PASS: {TOLD[model]} 0 from those of release {before}" in done.output
    now, report = answered(project, model)
    assert now != before
    assert (report.against, report.verdict) == (before, "PASS")


def test_a_release_with_other_answers_is_put_back(model: str, project: Project, faults: Faults) -> None:
    before, _ = answered(project, model)
    another_release(project, model, 30)
    faults.set("engine-altered-answers")
    done = project.deploy(model).refused(VALIDATION, f"error: answers of {model}: FAIL: {TOLD[model]}")
    assert "beyond the noise" in done.output
    now = project.serving(model)
    assert (now.serving, now.rolling) == (before, None)


def test_a_small_drift_of_what_serves_is_found_by_validate(
    model: str, project: Project, faults: Faults
) -> None:
    faults.set("engine-altered-answers", value=0.03)
    done = project.run("validate", model, "-e", ENVIRONMENT)
    done.refused(VALIDATION, rf"error: answers of {model}: FAIL: {TOLD[model]} 0\.03")
    assert answered(project, model)[1].verdict == "PASS"  # what was proven is what it is held against


def test_answers_that_are_not_repeated_are_measured_and_told(
    model: str, project: Project, faults: Faults
) -> None:
    faults.set("engine-altered-answers", value=0.0005, probability=0.5)
    done = project.run("validate", model, "-e", ENVIRONMENT).succeeded()
    assert "answers: not deterministic: asked twice, it repeated " in done.output
    report = answered(project, model)[1]
    assert 0 < report.noise.agreement < 1
    assert report.noise.drift > 0


def test_a_text_that_only_the_tokenizer_finds_too_long_is_told_in_the_engines_words(
    model: str, project: Project
) -> None:
    text = "a " * 700
    line = {"prompt": text} if model == "tiny-embedding" else {"query": "a", "documents": [text]}
    (project.home / "long.jsonl").write_text(json.dumps({"name": "book", **line}))
    file = project.home / "models" / f"{model}.yaml"
    before = file.read_text()
    edit(file, {"answers": {"prompts": "long.jsonl"}})
    try:
        done = project.run("validate", model, "-e", ENVIRONMENT)
        done.refused(VALIDATION, "error: a golden prompt was not answered", "maximum context length")
        assert "book: 400" in done.output
    finally:
        file.write_text(before)

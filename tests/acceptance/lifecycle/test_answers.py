"""A release that answers otherwise than the proven one does not stay, whatever its speed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Faults

from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, Project, edit

pytestmark = pytest.mark.long

FAILED, REFUSED, VALIDATION = 1, 3, 4
NEXT_REVISION = ("deploy", "tiny-llama", "-e", ENVIRONMENT, "--revision", "v1")
PROMPTS = (
    {"name": "greeting", "prompt": "Say hello.", "expect": {"regex": "."}},
    {"name": "sum", "prompt": "What is 17 + 25?"},
    {"name": "colour", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 8},
)


def ledger(project: Project) -> Ledger:
    return Ledger(project.client("s3"), BUCKET, ENVIRONMENT, "tiny-llama")


@pytest.fixture(scope="module")
def proven(project: Project) -> Iterator[str]:
    """tiny-llama serves and has answered three golden prompts; its release. The model's file is put back at the end."""
    project.serve()
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    (project.home / "golden.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)))
    edit(file, {"answers": {"prompts": "golden.jsonl", "max_tokens": 16}})
    done = project.deploy().succeeded()
    assert "job answers-tiny-llama: asking from inside the cluster" in done.output
    assert "answers: PASS: not compared: no proven release has answered yet" in done.output
    serving = project.serving().serving
    assert serving
    yield serving
    file.write_text(before)


def test_what_the_proven_release_answered_is_kept_and_signed(proven: str, project: Project) -> None:
    found = ledger(project).last_answers()
    assert found
    release, report = found
    assert (release, report.verdict) == (proven, "PASS")
    assert report.deterministic
    assert [one.check for one in report.answered] == ["", None, None]
    for one in report.answered:
        first, again = one.answers
        assert first.tokens == again.tokens
        assert len(first.tokens) == len(first.logprobs) == (8 if one.name == "colour" else 16)
    assert project.asking_jobs() == []
    page = project.run("evidence", "tiny-llama", "-e", ENVIRONMENT).succeeded().output
    assert "| answers | PASS: not compared" in page


def test_no_volume_is_filled_with_what_is_not_what_was_signed_for(proven: str, project: Project) -> None:
    """Somebody who may write to the bucket changes the staging manifest; the next deploy of that commit is refused."""
    s3, key = project.client("s3"), f"slipway/tiny-llama/{project.commit()}/.slipway/manifest.json"
    before = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    document = json.loads(before)
    one = next(file for file in document["files"] if file["path"] == "config.json")
    one["sha256"] = "0" * 64
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())
        project.deploy().refused(FAILED, "is not what evidence number ", "it is staged anew")
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=before)
    assert project.serving().serving == proven
    assert "what is staged is what evidence number " in project.deploy().succeeded().output


def test_golden_prompts_longer_than_the_context_are_refused_with_nothing_touched(
    proven: str, project: Project
) -> None:
    file = project.home / "golden.jsonl"
    before = file.read_text()
    file.write_text(before + "\n" + json.dumps({"name": "book", "prompt": "word " * 5000}))
    try:
        project.deploy().refused(REFUSED, "golden prompt book and its answer are longer than the context")
    finally:
        file.write_text(before)
    assert project.serving().serving == proven


def test_drift_of_what_serves_is_found_by_validate(proven: str, project: Project, faults: Faults) -> None:
    faults.set("engine-altered-answers", value=0.5)
    done = project.run("validate", "tiny-llama", "-e", ENVIRONMENT)
    done.refused(VALIDATION, r"error: answers of tiny-llama: FAIL: log-probabilities differ by 0\.5 nats")
    found = ledger(project).last_answers()
    assert found
    assert found[1].verdict == "PASS"  # what it is held against next time is what was proven


@pytest.mark.long
def test_a_release_that_answers_otherwise_is_put_back(proven: str, project: Project, faults: Faults) -> None:
    faults.set("engine-altered-answers")
    done = project.run(*NEXT_REVISION).refused(
        VALIDATION, "error: answers of tiny-llama: FAIL: ", "greedy tokens"
    )
    now = project.serving()
    assert (now.serving, now.rolling) == (proven, None)
    faults.clear("engine-altered-answers")
    assert project.complete()
    named = re.search(r"release (\w+) \(bundle", done.output)
    assert named
    record = ledger(project).record(named[1])
    assert record.wrong_answers
    assert record.wrong_answers.against == proven
    assert record.wrong_answers.likeness
    assert record.wrong_answers.likeness.agreement < 0.5
    assert record.failure
    assert record.failure.cause == "answers: FAIL"


def test_a_model_that_does_not_repeat_itself_is_measured_and_said(
    proven: str, project: Project, faults: Faults
) -> None:
    """Every second answer is another one: of 24 prompts none differs once in 16 million runs."""
    more = [{"name": f"more {number}", "prompt": f"Say {number}."} for number in range(21)]
    (project.home / "golden.jsonl").write_text("\n".join(map(json.dumps, [*PROMPTS, *more])))
    faults.set("engine-altered-answers", probability=0.5)
    done = project.run("validate", "tiny-llama", "-e", ENVIRONMENT)
    faults.clear("engine-altered-answers")
    said = re.search(
        r"not deterministic at temperature 0: asked twice, it repeated ([\d.]+)% of its tokens", done.output
    )
    assert said, done.output
    assert 20 < float(said[1]) < 80

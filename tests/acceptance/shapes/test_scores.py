"""A reranker through the whole lifecycle: proven by /v1/score, then by /v1/rerank, and put to sleep."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import Any

import pytest

from tests.support.project import ENVIRONMENT, Project, edit

MODEL = "tiny-reranker"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module", autouse=True)
def quick(project: Project) -> None:
    edit(
        project.home / "models" / f"{MODEL}.yaml",
        {
            "load": {"rate": 12, "warmup": "500ms", "window": "3s"},
            "objectives": {"e2e": {"p95": "6s"}, "each": {"e2e": "6s"}, "requests_per_second": 5},
            "scaling": {"idle_after": "2s"},
        },
    )


def asked(project: Project) -> dict[str, Any]:
    """The answer to the very lines `slipway endpoint` prints, run by a shell."""
    done = project.run("endpoint", MODEL, "-e", ENVIRONMENT).succeeded()
    lines = done.output[done.output.index("curl -s") :].splitlines()[:4]
    command = " ".join(line.strip().removesuffix("\\") for line in lines)
    said = subprocess.run(
        ["/bin/bash", "-c", command], cwd=project.home, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(said.stdout)
    return {"path": shlex.split(command)[2].rpartition("/")[2], **answer}


def test_a_reranker_is_proven_by_scores(project: Project) -> None:
    done = project.deploy(MODEL).succeeded()
    assert "gate passed: /health, /v1/models and a score by each of 1 new pods" in done.output
    assert "requests to /v1/score" in done.output
    assert "output tokens: none" in done.output
    assert "validation: PASS" in done.output
    answer = asked(project)
    assert answer["path"] == "score"
    assert isinstance(answer["data"][0]["score"], float)


def test_the_same_release_is_proven_by_rankings_where_the_load_asks_for_them(project: Project) -> None:
    edit(project.home / "models" / f"{MODEL}.yaml", {"load": {"endpoint": "rerank"}})
    done = project.deploy(MODEL).succeeded()
    assert "requests to /v1/rerank" in done.output
    assert "validation: PASS" in done.output
    answer = asked(project)
    assert answer["path"] == "rerank"
    assert isinstance(answer["results"][0]["relevance_score"], float)


def test_it_sleeps_where_nobody_ranks_and_a_wake_shows_a_score(project: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    decision = project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    woken = project.run("wake", MODEL, "-e", ENVIRONMENT).succeeded()
    assert "answers: 'score " in woken.output


def test_an_objective_of_tokens_is_refused_before_anything_is_touched(project: Project) -> None:
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    try:
        edit(file, {"objectives": {"tpot": {"p95": "1s"}}})
        project.deploy(MODEL).refused(
            2, "engine.task score generates no tokens: nothing is measured for tpot.p95"
        )
    finally:
        file.write_text(before)

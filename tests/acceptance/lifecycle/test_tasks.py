"""A model that embeds, beside the one that chats: asked, loaded and put to sleep by what it does."""

from __future__ import annotations

import json
import shlex
import subprocess
import time

import pytest

from tests.support.project import ENVIRONMENT, Project, edit

MODEL = "tiny-embedding"
IDLE_SECONDS = 120.0

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("serving")]


@pytest.fixture(scope="module", autouse=True)
def quick(project: Project) -> None:
    """Short windows, bounds for a busy machine, and more tokens than the model has: only a variable of vLLM's lets it start."""
    edit(
        project.home / "models" / f"{MODEL}.yaml",
        {
            "engine": {"max_model_len": 600, "env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": 1}},
            "load": {"rate": 12, "warmup": "500ms", "window": "3s"},
            "objectives": {"e2e": {"p95": "6s"}, "each": {"e2e": "6s"}},
            "scaling": {"idle_after": "2s"},
        },
    )


def test_an_embedding_model_goes_from_the_hub_to_a_proof_beside_a_chat_model(project: Project) -> None:
    before = project.serving("tiny-llama").serving
    done = project.deploy(MODEL).succeeded()
    assert "gate passed: /health, /v1/models and an embedding by each of 1 new pods" in done.output
    assert "a vector of 128 numbers" in done.output
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN lets it" in done.output
    assert "requests to /v1/embeddings" in done.output
    assert "output tokens: none" in done.output
    assert f"{MODEL} in {ENVIRONMENT}: release" in done.output
    assert project.complete("tiny-llama")
    assert project.serving("tiny-llama").serving == before


def test_the_request_to_try_is_answered_with_a_vector(project: Project) -> None:
    """The very lines `slipway endpoint` prints, run by a shell."""
    done = project.run("endpoint", MODEL, "-e", ENVIRONMENT).succeeded()
    lines = done.output[done.output.index("curl -s") :].splitlines()[:4]
    command = " ".join(line.strip().removesuffix("\\") for line in lines)
    assert "/v1/embeddings" in shlex.split(command)[2]
    said = subprocess.run(
        ["/bin/bash", "-c", command], cwd=project.home, capture_output=True, text=True, check=True
    )
    assert len(json.loads(said.stdout)["data"][0]["embedding"]) == 128


def test_it_sleeps_where_nobody_asks_for_vectors_and_a_wake_shows_one(project: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    decision = project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    woken = project.run("wake", MODEL, "-e", ENVIRONMENT).succeeded()
    assert "answers: 'a vector of 128 numbers'" in woken.output
    assert "an embedding through the gateway came back" in woken.output


def test_a_bound_on_tokens_is_refused_before_anything_is_touched(project: Project) -> None:
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    try:
        edit(file, {"objectives": {"ttft": {"p95": "1s"}}})
        project.deploy(MODEL).refused(
            2, "engine.task embed generates no tokens: nothing is measured for ttft.p95"
        )
    finally:
        file.write_text(before)

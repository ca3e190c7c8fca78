"""Two shapes of a repo through the whole lifecycle: weights in four bits by AWQ, and a model that is asked about an image."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from tests.support.project import ENVIRONMENT, Project
from tests.support.shaped_models import AWQ, VISION

IDLE_SECONDS = 120.0


def add_model(project: Project, name: str, repo: str, **engine: Any) -> None:
    document = yaml.safe_load((project.home / "models" / "tiny-llama.yaml").read_text())
    document |= {"name": name, "source": {"repo": repo}}
    document["engine"] |= engine
    document.setdefault("scaling", {})["idle_after"] = "2s"
    (project.home / "models" / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def sleep_and_wake(project: Project, name: str) -> str:
    end = time.monotonic() + IDLE_SECONDS
    decision = project.run("scale-down", name, "-e", ENVIRONMENT).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = project.run("scale-down", name, "-e", ENVIRONMENT).succeeded().output
    return str(project.run("wake", name, "-e", ENVIRONMENT).succeeded().output)


def test_a_model_in_four_bits_is_judged_proven_put_to_sleep_and_woken(project: Project) -> None:
    add_model(project, "tiny-awq", AWQ, dtype="float16")
    judged = project.run("preflight", "tiny-awq", "-e", ENVIRONMENT, "--explain").succeeded()
    assert "float16, awq (config.json)" in judged.output
    assert "validation: PASS" in project.deploy("tiny-awq").succeeded().output
    assert "answers: " in sleep_and_wake(project, "tiny-awq")


def test_another_method_than_the_repos_is_refused_in_preflight(project: Project) -> None:
    add_model(project, "tiny-awq", AWQ, quantization="gptq")
    project.deploy("tiny-awq").refused(3, "the repo's config.json says awq")


def test_a_model_that_sees_is_asked_about_an_image(project: Project) -> None:
    add_model(project, "tiny-vision", VISION)
    done = project.deploy("tiny-vision").succeeded()
    assert "says of an image " in done.output
    assert "validation: PASS" in done.output
    assert "answers: " in sleep_and_wake(project, "tiny-vision")


def test_a_model_that_cannot_see_and_is_said_to_is_told_in_vllms_words(project: Project) -> None:
    add_model(project, "tiny-blind", "slipway/tiny-llama")
    file = project.home / "models" / "tiny-blind.yaml"
    file.write_text(file.read_text() + "images: true\n")
    project.deploy("tiny-blind").refused(
        1, "a request about an image answers 400", "is not a multimodal model"
    )


@pytest.fixture(scope="module", autouse=True)
def not_left_serving(project: Project) -> Any:
    yield
    for name in ("tiny-awq", "tiny-vision"):
        project.run("scale-down", name, "-e", ENVIRONMENT)

"""The gate asks what the model can: completions of a base model, a tool call and reasoning where the flags promise them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.project import ENVIRONMENT, Project, edit

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("serving")]

PARSERS = ["--enable-auto-tool-choice", "--tool-call-parser=hermes", "--reasoning-parser=qwen3"]


@pytest.fixture(autouse=True)
def as_it_was(project: Project) -> Iterator[None]:
    """What tiny-llama is serves again after each."""
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    yield
    file.write_text(before)
    project.deploy().succeeded()


def change(project: Project, **sections: dict[str, object]) -> None:
    edit(project.home / "models" / "tiny-llama.yaml", sections)


def test_a_model_without_a_chat_template_is_proven_by_completions(project: Project) -> None:
    """Case 40: nobody names an endpoint, and the repo cannot chat."""
    change(project, source={"repo": "slipway/tiny-base"})
    judged = project.run("preflight", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert "no chat template: a base model, asked for completions" in judged.output
    assert "validation: PASS" in project.deploy().succeeded().output
    told = project.run("endpoint", "tiny-llama", "-e", ENVIRONMENT).succeeded().output
    assert "/v1/completions" in told
    assert "chat" not in told
    again = project.run("validate", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert "validation: PASS" in again.output


def test_a_model_without_a_chat_template_that_is_to_chat_is_refused(project: Project) -> None:
    change(project, source={"repo": "slipway/tiny-base"}, load={"endpoint": "chat"})
    project.deploy().refused(3, "has no chat template, and the load asks /v1/chat/completions")


def test_a_tool_call_and_reasoning_are_shown_where_their_parsers_are_set(project: Project) -> None:
    change(project, engine={"extra_args": PARSERS})
    done = project.deploy().succeeded()
    assert "calls get_weather(city=Paris)" in done.output
    assert "reasons in " in done.output
    assert "validation: PASS" in done.output

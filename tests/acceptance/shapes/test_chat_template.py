"""A base model with a chat template of the project's own, through the whole lifecycle; another text is another release."""

from __future__ import annotations

import time

import pytest
import yaml

from tests.support.project import ENVIRONMENT, Project

MODEL, FILE = "templated", "templates/plain.jinja"
TEMPLATE = "{%- for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def served(project: Project) -> Project:
    """tiny-base, which has no template, chats by one of the project."""
    document = yaml.safe_load((project.home / "models" / "tiny-llama.yaml").read_text())
    document |= {"name": MODEL, "source": {"repo": "slipway/tiny-base"}}
    document["engine"]["chat_template"] = FILE
    document.setdefault("scaling", {})["idle_after"] = "2s"
    (project.home / "models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (project.home / "templates").mkdir()
    (project.home / FILE).write_text(TEMPLATE)
    done = project.deploy(MODEL).succeeded()
    assert "validation: PASS" in done.output
    assert "/v1/chat/completions" in project.run("endpoint", MODEL, "-e", ENVIRONMENT).succeeded().output
    return project


def prompt_tokens(project: Project) -> int:
    with project.asking(MODEL) as client:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        answer = client.post("chat/completions", json=body).raise_for_status().json()
    return int(answer["usage"]["prompt_tokens"])


def test_it_chats_by_the_projects_template_and_another_text_is_another_release(served: Project) -> None:
    before = prompt_tokens(served)
    assert "nothing to send" in served.deploy(MODEL).succeeded().output
    (served.home / FILE).write_text(TEMPLATE.replace("assistant:", "the assistant answers as a friend:"))
    assert "validation: PASS" in served.deploy(MODEL).succeeded().output
    assert prompt_tokens(served) > before
    served.run("rollback", MODEL, "-e", ENVIRONMENT).succeeded()
    assert prompt_tokens(served) == before


def test_a_template_that_does_not_parse_is_refused_before_anything_is_touched(served: Project) -> None:
    (served.home / FILE).write_text("{% for m in messages %}")
    try:
        served.deploy(MODEL).refused(2, "is no chat template: line 1")
    finally:
        (served.home / FILE).write_text(TEMPLATE)


def test_it_sleeps_and_wakes_with_its_template(served: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    decision = served.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = served.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert "answers: " in served.run("wake", MODEL, "-e", ENVIRONMENT).succeeded().output
    assert prompt_tokens(served) > 0

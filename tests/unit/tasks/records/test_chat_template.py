"""A chat template of one's own: where it is read from, what is refused, how it gets to vLLM, and that the release is told by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.preflight.config import read_config
from tasks.preflight.repository import judge_tokenizer
from tasks.records.catalogue import load_model
from tasks.records.chat_template import MOST_BYTES, argument, wrong_in
from tasks.records.errors import InvalidDocument
from tasks.records.results import Release
from tests.support.builders import an_inspection

TEMPLATE = "{%- for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
MODEL = "name: chatty\nsource: {{repo: acme/chatty}}\nload: {{rate: 1}}\nengine: {{chat_template: '{}'}}\n"


def a_project(root: Path, named: str) -> Path:
    for folder in ("models", "environments", "templates"):
        (root / folder).mkdir()
    (root / "templates" / "plain.jinja").write_text(TEMPLATE)
    (root / "templates" / "broken.jinja").write_text("{% for m in messages %}{{ m.content")
    (root / "models" / "chatty.yaml").write_text(MODEL.format(named))
    return root


def test_a_file_of_the_project_is_read_with_the_models_file(tmp_path: Path) -> None:
    assert load_model("chatty", a_project(tmp_path, "templates/plain.jinja")).engine.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("templates/none.jinja", "there is no templates/none.jinja"),
        ("../outside.jinja", "there is no ../outside.jinja"),
        ("templates/broken.jinja", "line 1: unexpected end of template"),
    ],
)
def test_a_template_that_vllm_could_not_use_is_refused_as_the_file_is_read(
    named: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDocument, match=said) as refused:
        load_model("chatty", a_project(tmp_path, named))
    assert refused.value.next_command


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (TEMPLATE, ""),
        ("{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}", ""),
        ("{{ prompt }}", "does not use messages"),
        ("{% nope messages %}", "line 1: Encountered unknown tag 'nope'"),
        (TEMPLATE + " " * MOST_BYTES, "are the most"),
    ],
)
def test_a_template_is_parsed_as_transformers_does(text: str, wrong: str) -> None:
    assert wrong in wrong_in(text)
    assert bool(wrong_in(text)) == bool(wrong)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("repo:chat_template_tools.jinja", "/models/a/1/chat_template_tools.jinja"),
        ("{{ messages }} $(HOME)", "{{ messages }} $$(HOME)"),
    ],
)
def test_vllm_gets_a_path_of_the_repo_or_the_text_itself(template: str, value: str) -> None:
    assert argument(template, "/models/a/1") == f"--chat-template={value}"


def test_another_text_is_another_release_in_every_environment(tmp_path: Path) -> None:
    root = a_project(tmp_path, "templates/plain.jinja")

    def bundle() -> str:
        engine = load_model("chatty", root).engine
        return Release(
            model="m", environment="e", repo="r", commit="c", image="i", engine=engine, manifests_sha256=""
        ).bundle

    before = bundle()
    (root / "templates" / "plain.jinja").write_text(TEMPLATE + "{{ 1 }}")
    assert bundle() != before


def test_a_file_the_repo_has_not_is_refused() -> None:
    inspection = an_inspection()
    config = read_config({})
    row = judge_tokenizer(
        inspection, config, None, endpoint="chat", template_given=True, template_file="none.jinja"
    )
    assert row.status == "fail"
    assert "none.jinja" in row.detail

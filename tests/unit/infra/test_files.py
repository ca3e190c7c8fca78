"""What holds of the root modules as they are written, without a cloud."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import ROOT

ROOTS = ROOT / "infra" / "terraform"
NAMES = ("storage", "cluster", "ci")
BLOCKS = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def written(name: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOTS / name).glob("*.tf")))


def blocks(name: str, kind: str) -> dict[str, str]:
    return {m[2]: m[3] for m in BLOCKS.finditer(written(name)) if m[1] == kind}


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_a_type_and_a_description(name: str) -> None:
    for variable, body in blocks(name, "variable").items():
        assert re.search(r"^  type\s+=", body, re.MULTILINE), variable
        assert re.search(r'^  description\s+= "\S', body, re.MULTILINE), variable


@pytest.mark.parametrize("name", NAMES)
def test_every_output_has_a_description(name: str) -> None:
    for output, body in blocks(name, "output").items():
        assert re.search(r'^  description\s+= "\S', body, re.MULTILINE), output


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    text = written(name)
    assert [
        v for v in blocks(name, "variable") if not re.search(rf"\bvar\.{v}\b(?!.*error_message)", text)
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_names_every_variable_and_output(name: str) -> None:
    readme = (ROOTS / name / "README.md").read_text()
    wanted = [*blocks(name, "variable"), *blocks(name, "output")]
    assert [item for item in wanted if f"`{item}`" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_provider_and_one_path(name: str) -> None:
    text = written(name)
    assert set(re.findall(r'^\s*source\s+= "(.+)"', text, re.MULTILINE)) == {"hashicorp/aws"}
    assert "sandbox" not in text.lower()

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.builders import an_environment
from tools.iam_policies import DOCS, PLACEHOLDER, POLICIES, render, rendered, templates, with_templates

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MANAGED_POLICY_CHARACTERS = 6144


def actions(policy: dict[str, Any]) -> Iterator[str]:
    for statement in policy["Statement"]:
        listed = statement["Action"]
        yield from [listed] if isinstance(listed, str) else listed


def test_the_docs_print_the_files() -> None:
    text = DOCS.read_text()
    assert with_templates(text) == text, "python -m tools.iam_policies docs"
    assert {name for name in templates() if f"<!-- infra/iam/{name}.json -->" in text} == set(templates())


@pytest.mark.parametrize("name", sorted(templates()))
def test_a_policy_fits_and_has_no_placeholder_left(name: str, tmp_path: Path) -> None:
    environment = an_environment(name="production", cluster={"name": "slipway-production-europe"})
    render(environment, "111122223333", tmp_path)
    text = (tmp_path / f"{name}.json").read_text()
    assert len("".join(text.split())) <= MANAGED_POLICY_CHARACTERS
    for placeholder in re.findall(r"\b[A-Z][A-Z_]+\b", PLACEHOLDER.pattern):
        assert placeholder not in text
    sids = [statement["Sid"] for statement in json.loads(text)["Statement"]]
    assert len(sids) == len(set(sids))


def test_an_action_that_is_kept_unused_is_in_a_policy() -> None:
    kept = yaml.safe_load((POLICIES / "kept.yaml").read_text())
    listed = {
        f"{name}/{statement['Sid']}: {action}"
        for name, template in templates().items()
        for statement in json.loads(template)["Statement"]
        for action in actions({"Statement": [statement]})
    }
    assert kept.keys() <= listed
    assert all(reason for reason in kept.values())


def test_an_existing_clusters_own_name_is_in_the_policy_beside_that_of_what_is_made() -> None:
    environment = an_environment(existing={"cluster": "platform"})
    text = rendered(templates()["slipway-existing"], environment, "111122223333")
    assert '"arn:aws:eks:us-east-1:111122223333:cluster/platform"' in text
    assert '"arn:aws:eks:us-east-1:111122223333:nodegroup/platform/slipway-staging-gpu/*"' in text


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("/", "arn:aws:iam::111122223333:role/slipway-staging-*"),
        (
            "/platform/",
            [
                "arn:aws:iam::111122223333:role/platform/slipway-staging-*",
                "arn:aws:iam::111122223333:role/slipway-staging-*",
            ],
        ),
    ],
)
def test_roles_are_named_with_their_path(path: str, roles: Any) -> None:
    text = rendered(templates()["slipway-terraform"], an_environment(iam={"path": path}), "111122223333")
    found = {statement["Sid"]: statement["Resource"] for statement in json.loads(text)["Statement"]}
    assert (found["Roles"], found["PassRoles"]) == (roles, roles)

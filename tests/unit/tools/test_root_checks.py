"""Which of checkov's findings fail a build."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tools.root_checks import ACCEPTED, differences, findings


def report(*failed: tuple[str, str], resources: int = 3, unread: int = 0) -> dict[str, Any]:
    checks = [{"check_id": check, "resource": resource, "check_name": "said"} for check, resource in failed]
    return {
        "results": {"failed_checks": checks},
        "summary": {"resource_count": resources, "parsing_errors": unread},
    }


def test_instances_of_a_resource_are_one_finding() -> None:
    both = report(("CKV_1", "aws_eip.nat[0]"), ("CKV_1", "aws_eip.nat[1]"), ("CKV_2", 'aws_x.y["a"]'))
    assert findings([both]) == {"CKV_1 aws_eip.nat": "said", "CKV_2 aws_x.y": "said"}


@pytest.mark.parametrize(("resources", "unread"), [(0, 0), (3, 1)])
def test_a_root_that_was_not_read_is_no_pass(resources: int, unread: int) -> None:
    with pytest.raises(SystemExit, match=r"checkov (read no|could not read)"):
        findings([report(resources=resources, unread=unread)])


def test_a_new_finding_and_an_acceptance_that_is_not_needed_both_fail() -> None:
    assert differences({"a": "said"}, {"a": "why"}) == []
    assert differences({"a": "said"}, {}) == ["a: said"]
    assert differences({}, {"a": "why"}) == ["a: accepted, and not found any more"]


def test_every_acceptance_has_a_reason() -> None:
    accepted = yaml.safe_load(ACCEPTED.read_text())
    assert all(reason and name.startswith("CKV") for name, reason in accepted.items())

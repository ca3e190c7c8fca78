"""What a person is asked to approve."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run.proposal import MOST_ROWS, Proposal, of_promotion, of_teardown
from tasks.records.results import Feasibility, PreflightRow
from tests.support.reports import a_release, a_run

ROWS = (
    PreflightRow(check="cost", status="ok", detail="1.5 USD an hour"),
    PreflightRow(check="GPU driver", status="warn", detail="not recorded"),
)
CHANGE = {"stack": "cluster", "action": "update", "resource": "aws_eks_cluster.this"}


def promotion(**over: Any) -> Proposal:
    given = {
        "proof": a_run(1), "before": "r0", "judged": Feasibility(rows=ROWS), "changes": [CHANGE], **over
    }  # fmt: skip
    return of_promotion(a_release(), "production", **given)


def test_a_promotion_is_told_with_releases_proof_cost_preflight_and_plan() -> None:
    page, release = promotion().page, a_release()
    assert page.startswith(f"## promote {release.model} into production?\n")
    assert f"| release | `r0` → `{release.id}` |" in page
    assert "| cost | 1.5 USD an hour |" in page
    assert "| proof | load validation: PASS: 400 of 400 requests" in page
    assert "1 of 2 checks hold" in page
    assert "| GPU driver | warn | not recorded |" in page
    assert "| cluster | update | aws_eks_cluster.this |" in page


def test_a_plan_without_changes_says_no_difference() -> None:
    assert "### Terraform\n\nno difference" in promotion(changes=[]).page


def test_of_a_long_plan_the_rest_is_counted() -> None:
    page = promotion(changes=[CHANGE] * (MOST_ROWS + 3)).page
    assert page.count("aws_eks_cluster.this") == MOST_ROWS
    assert page.endswith("and 3 more")


@pytest.mark.parametrize(
    ("over", "same"),
    [
        ({}, True),
        ({"judged": Feasibility(rows=ROWS[:1])}, True),
        ({"changes": []}, False),
        ({"changes": [{**CHANGE, "action": "replace"}]}, False),
    ],
)
def test_another_plan_is_another_question(over: dict[str, Any], same: bool) -> None:
    assert (promotion(**over).key == promotion().key) is same


def test_a_teardown_is_told_with_what_is_there_and_what_is_kept() -> None:
    goes = {"models": "keep", "volumes": "delete"}
    proposal = of_teardown("production", ["cluster x", "volume v"], goes=goes, costs=["volume v: 2 USD"])
    for told in ("| volumes | delete |", "2 things", "- cluster x", "- volume v: 2 USD"):
        assert told in proposal.page
    assert proposal.key == of_teardown("production", [], goes=goes, costs=[]).key
    assert proposal.key != of_teardown("production", [], goes={**goes, "models": "delete"}, costs=[]).key

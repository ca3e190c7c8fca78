from __future__ import annotations

from typing import Any

import pytest

import flows.promote
from flows.promote import promote
from flows.run.approval import asked_at_the_terminal
from flows.run.proposal import Proposal
from tasks.records.errors import EvidenceRefused, InputError, Interrupted
from tasks.records.model import Model
from tasks.records.results import Promoted
from tests.support.builders import an_inspection
from tests.support.reports import a_release
from tests.support.stage import BEFORE, COST, DEPLOYED, SITE, STAGED, Stage

CHANGES = [{"stack": "cluster", "action": "update", "resource": "aws_eks_cluster.this"}]
PROMOTED = Promoted(environment="staging", evidence_sha256="f" * 64, sequence=1, key_id="a" * 64)

APPROVED: dict[str, Any] = {"approved_by": "ann", "reason": "the board said so"}


@pytest.fixture
def promoting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(flows.promote, "take_measured", lambda model, *of: model)
    stage.does(flows.promote, "check_load", "a load")
    stage.does(flows.promote, "read_infrastructure", SITE)
    stage.does(flows.promote, "proven_release", a_release())
    stage.does(flows.promote, "inspect_proven", (an_inspection(), STAGED))
    stage.does(flows.promote, "staged_manifest", None)
    stage.does(flows.promote, "check_evidence", PROMOTED)
    stage.does(flows.promote, "read_remains", (None, SITE))
    stage.does(flows.promote, "last_proven", BEFORE)
    stage.does(flows.promote, "preview_changes", CHANGES)
    return stage


def test_what_is_proven_in_the_source_is_copied_from_there(promoting: Stage) -> None:
    assert promote.fn("tiny-llama", "production", None, **APPROVED) == DEPLOYED
    [asked] = promoting.recorded.arguments["read_infrastructure"]
    assert asked.name == "staging"
    assert promoting.recorded.arguments["copy_model"][-1] == STAGED
    assert "stage_model" not in promoting.recorded.called


def test_the_proven_image_is_promoted_whatever_its_tag_means_now(promoting: Stage) -> None:
    promoting.does(flows.promote, "proven_release", a_release(image="vllm/vllm-openai:v0.32.0@sha256:ab"))
    promote.fn("tiny-llama", "production", None, **APPROVED)
    for stage in ("check_feasible", "warm_cache", "roll_out"):
        model = next(one for one in promoting.recorded.arguments[stage] if isinstance(one, Model))
        assert model.engine.image == "vllm/vllm-openai:v0.32.0@sha256:ab"


def test_another_source_than_promote_from_is_refused(promoting: Stage) -> None:
    with pytest.raises(InputError, match="only what was proven in staging"):
        promote.fn("tiny-llama", "production", "sandbox")
    assert promoting.recorded.called == []


def test_an_environment_that_names_no_source_needs_one(promoting: Stage) -> None:
    with pytest.raises(InputError, match="does not say where promotions come from"):
        promote.fn("tiny-llama", "staging", None)
    assert promote.fn("tiny-llama", "staging", "sandbox") == DEPLOYED


def test_a_promotion_that_fails_its_load_is_undone(promoting: Stage) -> None:
    promoting.fails("validate", InputError("no load"))
    with pytest.raises(InputError, match="no load"):
        promote.fn("tiny-llama", "production", None, **APPROVED)
    assert promoting.recorded.called[-1] == "undo"


def test_a_release_without_good_evidence_is_not_promoted(promoting: Stage) -> None:
    promoting.does(flows.promote, "check_evidence", EvidenceRefused("stale: it is of another release"))
    with pytest.raises(EvidenceRefused, match="stale"):
        promote.fn("tiny-llama", "production", None, **APPROVED)
    assert "check_feasible" not in promoting.recorded.called
    assert "apply_storage" not in promoting.recorded.called


def test_the_evidence_it_came_by_is_signed_with_a_promotion(promoting: Stage) -> None:
    promote.fn("tiny-llama", "production", None, **APPROVED)
    assert promoting.recorded.arguments["sign_evidence"][-1] == PROMOTED


def test_what_ci_says_of_an_approval_is_kept_with_the_release_and_nobody_is_asked(promoting: Stage) -> None:
    promote.fn("tiny-llama", "production", None, **APPROVED)
    kept = promoting.recorded.arguments["mark_proven"][-2]
    assert (kept.approver, kept.reason, kept.how) == (*APPROVED.values(), "said when it was started")
    assert "preview_changes" not in promoting.recorded.called


def test_a_person_at_the_terminal_has_plan_cost_and_releases_in_front_of_them(promoting: Stage) -> None:
    shown: list[Proposal] = []

    def yes(proposal: Proposal) -> str:
        shown.append(proposal)
        return "ann@desk"

    with asked_at_the_terminal(yes):
        promote.fn("tiny-llama", "production", None)
    [asked] = shown
    assert asked.what == "promote llama into production"
    for told in (f"`{BEFORE[0]}` → ", COST, "| cluster | update | aws_eks_cluster.this |", "checks hold"):
        assert told in asked.page
    assert promoting.recorded.arguments["mark_proven"][-2].approver == "ann@desk"
    before = promoting.recorded.called
    assert before.index("preview_changes") < before.index("apply_storage")


def test_a_no_touches_nothing(promoting: Stage) -> None:
    def no(proposal: Proposal) -> str:
        raise Interrupted("not approved")

    with asked_at_the_terminal(no), pytest.raises(Interrupted, match="not approved"):
        promote.fn("tiny-llama", "production", None)
    assert "apply_storage" not in promoting.recorded.called


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({}, "nobody here to ask"),
        ({"approved_by": "ann"}, "an approval needs both"),
        ({"reason": "why"}, "an approval needs both"),
        ({"approved_by": " ", "reason": "why"}, "an approval needs both"),
    ],
)
def test_without_anybody_to_ask_a_protected_environment_is_refused(
    promoting: Stage, said: dict[str, Any], cause: str
) -> None:
    with pytest.raises(InputError, match=cause):
        promote.fn("tiny-llama", "production", None, **said)
    assert "apply_storage" not in promoting.recorded.called


def test_an_environment_that_is_not_protected_asks_nobody(promoting: Stage) -> None:
    promote.fn("tiny-llama", "staging", "sandbox")
    assert promoting.recorded.arguments["mark_proven"][-2] is None
    assert "preview_changes" not in promoting.recorded.called

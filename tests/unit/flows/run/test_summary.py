"""The page about a run."""

from __future__ import annotations

from flows.run.endings import Ending
from flows.run.summary import summary
from tasks.records.results import Feasibility, IdleDecision, PreflightRow, Served
from tasks.records.status import EnvironmentStatus, ModelStatus
from tasks.releases.records import Deployed
from tests.support.releases import a_rollout
from tests.support.reports import AT, a_run
from tests.support.stage import COST, PAGE, RECORD

PROVEN = Ending("Proven", "it serves")


def test_a_page_says_how_it_ended_what_was_asked_and_of_which_commit() -> None:
    page = summary(
        PROVEN, None, {"model": "m", "revision": None, "may_destroy": []}, ["slipway", "commit:abc"]
    )
    assert page.startswith("## Proven\n\nit serves\n")
    assert "| model | m |" in page
    assert "| commit | abc |" in page
    assert "revision" not in page
    assert "may destroy" not in page


def test_a_proven_release_is_told_before_and_after_with_its_load() -> None:
    record = RECORD.model_copy(update={"report": a_run(1), "rollout": a_rollout(RECORD.release)})
    page = summary(PROVEN, Deployed(record=record, page=PAGE, cost=COST), {"model": "m"}, [])
    assert f"| release | `r0` → `{RECORD.release.id}` |" in page
    assert "| downtime | 2.5 s |" in page
    assert "| endpoint | http://gateway/v1 |" in page
    assert f"| cost | {COST} |" in page
    assert f"| page | {PAGE} |" in page
    assert "load validation: PASS" in page


def test_what_a_look_at_several_things_found_is_a_table() -> None:
    given = {"environment": "staging"}
    served = ModelStatus(model="m", served=Served(model="m", release="0123", replicas=2), replicas_wanted=3)
    status = EnvironmentStatus(environment="staging", at=AT, models=(served,))
    assert "| m | 0123 | 2/3 |" in summary(PROVEN, [status], given, [])
    decided = {"m": IdleDecision(act=True, reason="nobody asks", evidence=())}
    assert "| m | to zero | nobody asks |" in summary(PROVEN, decided, given, [])
    checked = Feasibility(rows=(PreflightRow(check="quota", status="fail", detail="0 vCPU"),))
    assert "| quota | fail | 0 vCPU |" in summary(PROVEN, checked, given, [])
    assert "### m\n\nload validation: PASS" in summary(PROVEN, {"m": a_run(1)}, given, [])

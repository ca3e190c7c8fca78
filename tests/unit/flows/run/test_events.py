"""The events that the ends of runs are told by."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run.events import events_of, put_back
from tasks.preflight.cost import Item, over_budget
from tasks.records.errors import PreflightFailed, SlipwayError, ValidationFailed
from tasks.records.results import Feasibility, IdleDecision, PreflightRow
from tests.support.builders import an_environment
from tests.support.stage import DEPLOYED

GIVEN = {"model": "llama", "environment": "staging"}
IDLE = IdleDecision(act=True, reason="nobody asks", evidence=())
USED = IdleDecision(act=False, reason="asked", evidence=())
REFUSED = over_budget(an_environment(budget=2.0), [Item("g5.2xlarge", 4, 4.8)], "")
assert REFUSED
ROW = PreflightRow(check="cost", status="fail", detail=REFUSED.detail)


@pytest.mark.parametrize(
    ("flow", "result", "events"),
    [
        ("slipway-deploy", DEPLOYED, ["slipway.release.proven"]),
        ("slipway-promote", DEPLOYED, ["slipway.release.proven"]),
        ("slipway-deploy", ValidationFailed("p95"), ["slipway.release.failed"]),
        ("slipway-sweep", ValidationFailed("p95"), []),
        ("slipway-rollback", "0123", ["slipway.release.put-back"]),
        ("slipway-rollback", None, []),
        ("slipway-scale-down", IDLE, ["slipway.model.idle"]),
        ("slipway-scale-down", USED, []),
        ("slipway-idle", {"a": IDLE, "b": USED}, ["slipway.model.idle"]),
        ("slipway-idle", {}, []),
        ("slipway-wake", "hello", ["slipway.model.woken"]),
        ("slipway-wake-due", {"a": "hello", "b": "hello"}, ["slipway.model.woken"] * 2),
        ("slipway-drift", [{"resource": "x"}], ["slipway.environment.drift"]),
        ("slipway-drift", [], []),
        ("slipway-preflight", Feasibility(rows=(ROW,)), ["slipway.environment.over-budget"]),
        ("slipway-preflight", Feasibility(rows=(ROW.model_copy(update={"detail": "quota"}),)), []),
        ("slipway-validate", {}, []),
        ("slipway-teardown", object(), []),
        (
            "slipway-deploy",
            PreflightFailed(f"this cannot succeed: cost: {REFUSED.detail}"),
            ["slipway.environment.over-budget", "slipway.release.failed"],
        ),
        ("slipway-deploy", PreflightFailed("quota", evidence=[f"cost: {REFUSED.detail}"]), ["slipway.environment.over-budget", "slipway.release.failed"]),
    ],
)  # fmt: skip
def test_an_end_is_told_by_its_events(flow: str, result: Any, events: list[str]) -> None:
    assert [one.event for one in events_of(flow, result, GIVEN)] == events


def test_an_event_is_of_a_model_in_an_environment() -> None:
    (event,) = events_of("slipway-wake", "hello", GIVEN)
    assert event.resource == {
        "prefect.resource.id": "slipway.model.staging.llama",
        "prefect.resource.name": "llama in staging",
        "slipway.model": "llama",
        "slipway.environment": "staging",
    }
    (related,) = event.related
    assert (related["prefect.resource.id"], related["prefect.resource.role"]) == (
        "slipway.environment.staging",
        "environment",
    )


def test_a_cause_is_cut_and_nothing_of_its_evidence_is_told() -> None:
    error = SlipwayError("x" * 9000, evidence=["a log line"])
    (event,) = events_of("slipway-deploy", error, GIVEN)
    assert len(event.payload["cause"]) == 500
    assert "a log line" not in str(event)


def test_what_was_put_back_after_a_failure_says_why() -> None:
    event = put_back("staging", "llama", "0123", "p95 is 900 ms")
    assert (event.event, event.payload) == (
        "slipway.release.put-back",
        {"release": "0123", "cause": "p95 is 900 ms"},
    )

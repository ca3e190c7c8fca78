"""The states that runs end in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest
import yaml

from flows.deployments import STARTABLE
from flows.run.endings import ENDINGS, ending_of, ends_quietly, failure_name
from flows.run.tags import flow_name
from tasks.records.errors import Inconclusive, InputError, NothingDeployed, SlipwayError, ValidationFailed
from tasks.records.results import Feasibility, IdleDecision, PreflightRow, Served
from tasks.records.status import EnvironmentStatus, ModelStatus
from tests.support.builders import ROOT
from tests.support.reports import a_run
from tests.support.stage import DEPLOYED

GIVEN = {"model": "m", "environment": "staging", "unfinished": True}


def idle(*, act: bool) -> IdleDecision:
    return IdleDecision(act=act, reason="why", evidence=())


def a_status(replicas: int) -> EnvironmentStatus:
    served = Served(model="m", release="0123", replicas=replicas)
    row = ModelStatus(model="m", served=served)
    return EnvironmentStatus(environment="staging", at=datetime.now(UTC), models=(row,))


def feasible(*statuses: Literal["ok", "warn", "fail"]) -> Feasibility:
    return Feasibility(rows=tuple(PreflightRow(check="c", status=one, detail="d") for one in statuses))


@pytest.mark.parametrize(
    ("flow", "result", "name"),
    [
        ("deploy", DEPLOYED, "Proven"),
        ("promote", DEPLOYED, "Proven"),
        ("rollback", "0123", "Put back"),
        ("rollback", None, "Nothing to put back"),
        ("scale_down", idle(act=True), "Scaled to zero"),
        ("scale_down", idle(act=False), "Left: in use"),
        ("drift", [{}], "Drifted"),
        ("drift", [], "No difference"),
        ("wake", "hello", "Awake"),
        ("wake_due", {"a": "hello"}, "Awake"),
        ("wake_due", {}, "Nothing to wake"),
        ("recover", ["m in staging: 0123 serves"], "Put back"),
        ("recover", [], "Nothing to put back"),
        ("idle", {}, "Nothing to judge"),
        ("idle", {"a": idle(act=False), "b": idle(act=True)}, "Scaled to zero"),
        ("idle", {"a": idle(act=False)}, "Left: in use"),
        ("validate", {}, "Nothing serves"),
        ("validate", {"a": a_run(1)}, "Proven"),
        ("preflight", feasible("ok", "warn"), "Can succeed"),
        ("preflight", feasible("ok", "fail"), "Cannot succeed"),
        ("status", [], "Nothing serves"),
        ("status", [a_status(1)], "Serving"),
    ],
)
def test_a_result_names_its_state(flow: str, result: Any, name: str) -> None:
    assert ending_of(flow_name(flow), result, GIVEN).name == name


def test_every_flow_that_is_registered_has_an_ending() -> None:
    assert {flow_name(one.flow) for one in STARTABLE} <= {*ENDINGS}


@pytest.mark.parametrize(
    ("error", "name"), [(ValidationFailed("slow"), "Failed"), (Inconclusive("?"), "Inconclusive")]
)
def test_a_validation_that_could_not_tell_is_no_failure_of_the_model(error: SlipwayError, name: str) -> None:
    assert failure_name(error) == name


def test_the_webhook_is_told_of_every_name_a_failure_has() -> None:
    [*_, report] = yaml.safe_load((ROOT / "automations.yaml").read_text())
    expected = {one.removeprefix("prefect.flow-run.") for one in report["trigger"]["expect"]}
    assert {failure_name(SlipwayError("x")), failure_name(Inconclusive("x")), "Drifted"} <= expected


@pytest.mark.parametrize(
    ("error", "scheduled", "quiet"),
    [
        (NothingDeployed("x"), True, True),
        (NothingDeployed("x"), False, False),
        (InputError("x"), True, False),
    ],
)
def test_only_a_schedule_ends_quietly_where_nothing_is_deployed(
    error: SlipwayError, scheduled: bool, quiet: bool
) -> None:
    assert ends_quietly(error, scheduled=scheduled) is quiet

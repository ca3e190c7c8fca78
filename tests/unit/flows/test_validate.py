"""The proof, again, of what serves."""

from __future__ import annotations

import pytest

import flows.run.awake
import flows.run.runbook
import flows.validate
from flows.validate import all_of, validate
from tasks.records.errors import ClusterError, NothingDeployed, ValidationFailed
from tasks.records.results import Served
from tests.support.builders import ROOT
from tests.support.reports import a_run
from tests.support.stage import BEFORE, RECORD, SITE, Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    monkeypatch.setattr(flows.validate, "turn", stage.turn)
    monkeypatch.setattr(flows.run.runbook, "show_markdown", lambda key, text, title: stage.shown.append(text))
    stage.does(flows.run.awake, "list_served", [Served(model="tiny-llama", release="0123", replicas=1)])
    results = {
        "read_infrastructure": SITE,
        "check_load": "a load",
        "serving_release": RECORD,
        "last_proven": BEFORE,
        "last_swept": None,
        "put_load": a_run(2),
        "draw_page": None,
        "keep_page": "s3://page",
        "mark_proven": RECORD,
        "staged_manifest": None,
        "sign_evidence": "s3://evidence",
    }
    for name, result in results.items():
        stage.does(flows.validate, name, result)
    return stage


def test_what_serves_is_loaded_and_proven_in_the_ledger(stage: Stage) -> None:
    assert [*validate.fn("staging", None, "cluster")] == ["tiny-llama"]
    assert stage.recorded.called[-3:] == ["mark_proven", "staged_manifest", "sign_evidence"]


def test_a_failure_keeps_its_page_and_takes_nothing_away(stage: Stage) -> None:
    stage.does(flows.validate, "put_load", a_run(2).model_copy(update={"verdict": "FAIL"}))
    with pytest.raises(ValidationFailed) as failed:
        validate.fn("staging", None, "cluster")
    assert stage.recorded.called[-1] == "keep_page"
    assert "put back" not in str(failed.value.next_command)


def test_a_model_that_sleeps_is_left_asleep(stage: Stage) -> None:
    stage.does(flows.run.awake, "list_served", [Served(model="tiny-llama", release="0123", replicas=0)])
    assert validate.fn("staging", None, "cluster") == {}
    with pytest.raises(NothingDeployed, match="no replica of tiny-llama serves in staging"):
        validate.fn("staging", "tiny-llama", "cluster")
    assert "put_load" not in stage.recorded.called


def test_all_failures_are_told_in_one() -> None:
    told = all_of([ValidationFailed("a: slow", evidence=["p95"]), ClusterError("b: gone")])
    assert isinstance(told, ValidationFailed)
    assert (told.cause, told.evidence) == ("a: slow", ("p95", "b: gone"))

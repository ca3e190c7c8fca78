"""The look at environments: what fails is said beside what does not."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest

import flows.status
from flows.status import of_all
from tasks.records.costs import Costs
from tasks.records.errors import CloudError, ClusterError, InvalidDocument, NothingDeployed
from tasks.records.results import Served
from tasks.records.status import EnvironmentStatus, ModelStatus
from tests.support.builders import ROOT
from tests.support.stage import SITE, Stage

# as `slipway status` calls it: no run of Prefect
look = inspect.unwrap(flows.status.status.fn)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
ROW = ModelStatus(model="tiny-llama", served=Served(model="tiny-llama", release="0123", replicas=1))
FOUND = EnvironmentStatus(environment="staging", at=NOW, models=(ROW,))
DAY = Costs(since=NOW, until=NOW, instance_hours={})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    stage.does(flows.status, "read_infrastructure", SITE)
    stage.does(flows.status, "look_at", FOUND)
    stage.does(flows.status, "tell_troubles", ["no node comes"])
    stage.does(flows.status, "day_costs", DAY)
    return stage


def test_one_environment_is_told_with_troubles_and_costs(stage: Stage) -> None:
    (found,) = look("staging")
    assert (found.troubles, found.day, found.unknown) == (("no node comes",), DAY, {})


@pytest.mark.parametrize(
    ("task", "error", "cell"),
    [
        ("tell_troubles", ClusterError("no answer"), "troubles"),
        ("day_costs", CloudError("AWS cannot be reached"), "last_24_hours"),
    ],
)
def test_what_fails_hides_nothing_else(stage: Stage, task: str, error: Exception, cell: str) -> None:
    stage.does(flows.status, task, error)
    (found,) = look("staging")
    assert [*found.unknown] == [cell]
    assert found.models == (ROW,)


def test_a_named_environment_without_anything_is_an_error_and_among_all_a_line(stage: Stage) -> None:
    stage.does(flows.status, "read_infrastructure", NothingDeployed("nothing is deployed in staging"))
    with pytest.raises(NothingDeployed):
        look("staging")
    (found,) = of_all(["staging"])
    assert found.unknown == {"environment": "nothing is deployed in staging"}


def test_an_environment_whose_variables_are_missing_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    first, second = of_all(["sandbox", "staging"])
    assert "needs the variable AWS_ENDPOINT_URL" in first.unknown["environment"]
    assert second.models == (ROW,)


def test_a_models_file_that_cannot_be_read_is_a_row(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise InvalidDocument(f"models/{name}.yaml: line 3: no such key")

    monkeypatch.setattr(flows.status, "load_model", load)
    (found,) = look("staging")
    assert "no such key" in found.models[-1].unknown["release"]
    assert found.models[0] == ROW


def test_a_watch_leaves_the_costs_of_a_day_to_some_of_its_looks(stage: Stage) -> None:
    (found,) = of_all(["staging"], with_costs=False)
    assert found.day is None
    assert "day_costs" not in stage.recorded.called

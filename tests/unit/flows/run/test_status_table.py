"""`slipway status` as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flows.run.status_table import HEAD, cells, costs, lines_of, reasons
from tasks.records.costs import Costs, ModelCosts
from tasks.records.drills import PromiseState
from tasks.records.results import Served
from tasks.records.status import EnvironmentStatus, ModelStatus

NOW = datetime(2026, 11, 30, 12, 34, tzinfo=UTC)
SERVED = Served(model="llama", release="0123456789ab", replicas=1, proven_at=NOW)
ROW = ModelStatus(
    model="llama",
    served=SERVED,
    replicas_wanted=2,
    nodes=("a", "b"),
    requests_per_minute=12.345,
    usd_per_hour=2.424,
    usd_per_million=0.5,
)


def status(*models: ModelStatus, **more: Any) -> EnvironmentStatus:
    known: dict[str, Any] = {"nodes": {"g5.2xlarge": 2}, "gpu_nodes": 2, "usd_per_hour": 2.5}
    return EnvironmentStatus(environment="staging", at=NOW, models=models, **{**known, **more})


@pytest.mark.parametrize(
    ("changed", "column", "cell"),
    [
        ({}, "release", "0123456789ab"),
        ({}, "ready", "1/2"),
        ({}, "nodes", "2"),
        ({}, "proven", "2026-11-30 12:34"),
        ({}, "last drill", "never"),
        ({}, "req/min", "12.3"),
        ({}, "USD/h", "2.42"),
        ({}, "USD/M out *", "0.50"),
        ({"last_drill_at": NOW}, "last drill", "2026-11-30 12:34"),
        ({"usd_per_million": None}, "USD/M out *", "-"),
        ({"served": SERVED.model_copy(update={"rolling": "4567"})}, "release", "0123456789ab < 4567"),
        ({"served": SERVED.model_copy(update={"proven_at": None})}, "proven", "not proven"),
        ({"unknown": {"requests_per_minute": "why"}}, "req/min", "unknown"),
        ({"unknown": {"replicas_ready": "why"}}, "ready", "unknown"),
        ({"served": None, "unknown": {"release": "why"}}, "release", "unknown"),
    ],
)
def test_a_cell_says_what_is_known_or_that_it_is_not(changed: dict[str, Any], column: str, cell: str) -> None:
    row = dict(zip(HEAD, cells(ROW.model_copy(update=changed)), strict=True))
    assert row[column] == cell


def test_a_reason_that_all_models_share_is_told_once() -> None:
    why = {"requests_per_minute": "Prometheus does not answer"}
    rows = [ROW.model_copy(update={"model": name, "unknown": why}) for name in ("a", "b")]
    assert reasons(status(*rows, unknown={"requests": "Prometheus does not answer"})) == [
        "requests: Prometheus does not answer"
    ]
    alone = ROW.model_copy(update={"unknown": {"release": "no JSON"}})
    assert reasons(status(alone)) == ["llama: release: no JSON"]


def test_columns_stand_under_their_heads_and_details_below() -> None:
    promise = PromiseState(promise="wake", state="broken", why="no answer", next_command="slipway wake")
    served = SERVED.model_copy(
        update={"made_from": "abc", "promises": (promise,), "slow_start": ("whole: 9m",)}
    )
    lines = lines_of(status(ROW.model_copy(update={"served": served})))
    assert lines[0] == "staging: 2 GPU nodes, 2 instances, 2.50 USD an hour by list prices"
    assert lines[1].index("ready") == lines[2].index("1/2")
    assert lines[4:] == [
        "llama",
        "  made from commit abc",
        "  last start: whole: 9m",
        "  wake: BROKEN: no answer; never seen to act",
        "    next: slipway wake",
    ]


def test_an_environment_that_cannot_be_looked_at_is_a_line() -> None:
    found = EnvironmentStatus(
        environment="production", at=NOW, unknown={"environment": "nothing is deployed"}
    )
    assert lines_of(found) == ["production: nothing is deployed"]


DAY = Costs(
    since=NOW,
    until=NOW,
    instance_hours={"g5.2xlarge": 5.0},
    at_least=True,
    paid_usd=6.06,
    gpu_usd=6.0,
    idle_usd=4.0,
    models={
        "llama": ModelCosts(output_tokens=2e6, gpu_usd=6.0, usd_per_million=3.0),
        "e5": ModelCosts(output_tokens=0, gpu_usd=0.0),
    },
    unknown={"traffic": "Prometheus does not answer"},
)


def test_costs_of_a_day_say_their_basis_beside_those_at_the_proven_rate() -> None:
    assert costs(DAY) == [
        "since 2026-11-30 12:34 UTC: at least 6.06 USD for 5.00 h g5.2xlarge; GPU nodes 6.00 USD; of it 4.00 USD while no "
        "request ran; scale-down saved unknown",
        "llama: 3.00 USD per million output tokens at this traffic (2,000,000 tokens, the hours paid)",
        "traffic: Prometheus does not answer",
    ]
    assert lines_of(status(ROW, day=DAY))[4:7] == costs(DAY)

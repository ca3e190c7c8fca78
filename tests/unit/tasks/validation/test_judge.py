"""Verdicts: a table of what was measured, what was asked for, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.records.reports import LoadReport
from tasks.validation.judge import ENOUGH_REQUESTS
from tasks.validation.load.wire import Outcome
from tests.support.reports import failed, judged_outcomes, outcome

MANY = 100

# --------------------------------------------------------------------- verdicts

SLOW = [outcome(ttft=0.9)] * 10 + [outcome()] * 90  # p95 of the first token: 900 ms

VERDICTS: list[tuple[str, list[Outcome], dict[str, Any], tuple[float, ...], str]] = [
    ("all hold", [outcome()] * MANY, {"ttft": {"p95": "200ms"}}, (), "PASS"),
    ("a bound met exactly", [outcome(ttft=0.25)] * MANY, {"ttft": {"p95": "250ms"}}, (), "PASS"),
    ("none asked for but errors", [outcome()] * MANY, {}, (), "PASS"),
    ("too slow", SLOW, {"ttft": {"p95": "500ms"}}, (), "FAIL"),
    ("slow beyond the percentile", SLOW, {"ttft": {"p50": "500ms"}}, (), "PASS"),
    ("tokens too slow", [outcome(tpot=0.2)] * MANY, {"tpot": {"p95": "50ms"}}, (), "FAIL"),
    ("a pause within a stream", [outcome(gaps=(2.0,))] * MANY, {"itl": {"p99": "500ms"}}, (), "FAIL"),
    ("too long in all", [outcome(e2e=9.0)] * MANY, {"e2e": {"p95": "500ms"}}, (), "FAIL"),
    ("errors within the bound", [failed()] + [outcome()] * 99, {"errors": 0.01}, (), "PASS"),
    ("errors beyond the bound", [failed()] * 2 + [outcome()] * 98, {"errors": 0.01}, (), "FAIL"),
    ("everything failed", [failed()] * MANY, {"ttft": {"p95": "500ms"}}, (), "FAIL"),
    ("nothing measured never holds", [outcome(ttft=None)] * MANY, {"ttft": {"p95": "500ms"}}, (), "FAIL"),
    ("too few tokens a second", [outcome()] * MANY, {"output_tokens_per_second": 201}, (), "FAIL"),
    ("enough tokens a second", [outcome()] * MANY, {"output_tokens_per_second": 200}, (), "PASS"),
    ("goodput", SLOW, {"goodput": 0.9, "each": {"ttft": "500ms"}}, (), "PASS"),
    ("too little goodput", SLOW, {"goodput": 0.91, "each": {"ttft": "500ms"}}, (), "FAIL"),
    ("too few to tell", [outcome()] * (ENOUGH_REQUESTS - 1), {"ttft": {"p95": "200ms"}}, (), "INCONCLUSIVE"),
    ("just enough to tell", [outcome()] * ENOUGH_REQUESTS, {"ttft": {"p95": "200ms"}}, (), "PASS"),
    ("none at all", [], {"ttft": {"p95": "200ms"}}, (), "INCONCLUSIVE"),
    ("only the warm-up", [outcome(counted=False)] * MANY, {}, (), "INCONCLUSIVE"),
    ("the generator was late itself", [outcome(ttft=0.9, lateness=0.1)] * MANY, {"ttft": {"p95": "500ms"}}, (), "INCONCLUSIVE"),
    ("the loop lagged", [outcome(ttft=0.9)] * MANY, {"ttft": {"p95": "500ms"}}, (0.1,) * 50, "INCONCLUSIVE"),
    ("a little late is no excuse", [outcome(ttft=0.9, lateness=0.01)] * MANY, {"ttft": {"p95": "500ms"}}, (), "FAIL"),
    ("late and yet it holds", [outcome(lateness=0.1)] * MANY, {"ttft": {"p95": "500ms"}}, (), "PASS"),
    ("late does not excuse errors", [failed()] * 50 + [outcome(lateness=0.1)] * 50, {"ttft": {"p95": "500ms"}}, (), "FAIL"),
    (
        "late does not excuse errors, whatever else broke",
        [failed()] * 50 + [outcome(ttft=0.9, lateness=0.1)] * 50, {"ttft": {"p95": "500ms"}}, (), "FAIL",
    ),
    (
        "goodput lost to the generator's own lateness",
        [outcome(ttft=0.9, lateness=0.4)] * MANY, {"goodput": 0.9, "each": {"ttft": "500ms"}}, (), "INCONCLUSIVE",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "objectives", "lags", "verdict"),
    [case[1:] for case in VERDICTS],
    ids=[case[0] for case in VERDICTS],
)
def test_a_verdict(
    outcomes: list[Outcome], objectives: dict[str, Any], lags: tuple[float, ...], verdict: str
) -> None:
    found = judged_outcomes(outcomes, lags=lags, **objectives)
    assert found.verdict == verdict
    assert found.reasons


def test_a_failure_names_every_objective_that_broke() -> None:
    found = judged_outcomes(SLOW, ttft={"p95": "500ms"}, e2e={"p95": "100ms"}, tpot={"p95": "50ms"})
    assert found.verdict == "FAIL"
    assert found.reasons == (
        "ttft p95: 900 ms, objective: at most 500 ms",
        "e2e p95: 300 ms, objective: at most 100 ms",
    )


def test_the_warm_up_is_in_no_figure() -> None:
    slow_start = [outcome(counted=False, ttft=9.0, lateness=5.0)] * 50
    found = judged_outcomes([*slow_start, *[outcome()] * MANY], ttft={"p95": "200ms"})
    assert (found.requests, found.send_lateness.max) == (MANY, 0.0)
    assert found.ttft.max == pytest.approx(100)


def test_failures_are_counted_by_their_kind_and_kept_out_of_latencies() -> None:
    found = judged_outcomes([failed("http 503")] * 2 + [failed("stalled")] + [outcome()] * 97, errors=0.05)
    assert found.failures == {"http 503": 2, "stalled": 1}
    assert (found.requests, found.succeeded, found.ttft.count) == (MANY, 97, 97)


def test_tokens_a_second_are_over_the_window() -> None:
    found = judged_outcomes([outcome()] * MANY)
    assert found.output_tokens_per_second == pytest.approx(MANY * 20 / 10.0)
    assert found.achieved_rate == pytest.approx(10.0)


def test_a_report_survives_the_way_between_processes() -> None:
    found = judged_outcomes(SLOW, ttft={"p95": "500ms"}, goodput=0.9, each={"ttft": "500ms"})
    assert LoadReport.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("percent", [50, 90, 95, 99])
@pytest.mark.parametrize("metric", ["ttft", "itl", "tpot", "e2e"])
def test_every_latency_has_an_objective_at_each_percentile(metric: str, percent: int) -> None:
    generous: dict[str, Any] = {metric: {f"p{percent}": "1000s"}}
    strict: dict[str, Any] = {metric: {f"p{percent}": "0.001ms"}}
    [result] = [r for r in judged_outcomes([outcome()] * MANY, **generous).objectives if r.figure == metric]
    assert result.percentile == f"p{percent}"
    assert result.holds
    assert result.measured is not None
    assert judged_outcomes([outcome()] * MANY, **strict).verdict == "FAIL"


@pytest.mark.parametrize(("bound", "verdict"), [(10.0, "PASS"), (10.1, "FAIL")])
def test_requests_a_second_that_succeeded_are_judged(bound: float, verdict: str) -> None:
    assert judged_outcomes([outcome()] * 100, requests_per_second=bound).verdict == verdict


def test_the_servers_own_words_follow_what_broke() -> None:
    said = "This model's maximum context length is 2048 tokens."
    refused = [failed("http 400", said)] * 30 + [failed("stalled")]
    found = judged_outcomes([*refused, *[outcome()] * 69])
    assert found.verdict == "FAIL"
    assert found.reasons == (
        "errors: 0.31, objective: at most 0.01",
        f"http 400, 30 requests: {said}",
        "stalled, 1 request",
    )


def test_too_few_requests_say_how_they_failed() -> None:
    found = judged_outcomes([failed("http 401", "Unauthorized")] * 3)
    assert found.verdict == "INCONCLUSIVE"
    assert found.reasons[1] == "http 401, 3 requests: Unauthorized"

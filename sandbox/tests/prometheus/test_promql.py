"""PromQL over samples put in by hand: one a second from 1000 to 1060."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from slipway_sandbox.images.prometheus import evaluate
from slipway_sandbox.images.prometheus.functions import bucket_quantile, extrapolated, quantile
from slipway_sandbox.images.prometheus.promql import ParseError, duration_seconds, parse
from slipway_sandbox.images.prometheus.storage import STALE, Storage

START, END = 1000, 1060


def series(name: str, **labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"__name__": name, **labels}.items()))


@pytest.fixture
def storage() -> Storage:
    made = Storage()
    for time in range(START, END + 1):
        n = time - START
        made.append(
            time,
            [
                (series("vllm:num_requests_waiting", pod="a", namespace="llm"), float(n % 5)),
                (series("vllm:num_requests_waiting", pod="b", namespace="llm"), 2.0),
                (series("vllm:num_requests_running", pod="a", namespace="llm"), 7.0),
                (series("requests_total", pod="a"), 10.0 * n),
                (series("restarting_total", pod="a"), float(n if n < 30 else n - 30)),
                (series("limit"), 3.0),
                *[
                    (series("latency_bucket", le=le, pod="a"), float(count * n))
                    for le, count in (("0.1", 1), ("0.5", 3), ("1", 4), ("+Inf", 4))
                ],
            ],
        )
    return made


@pytest.fixture
def ask(storage: Storage) -> Callable[..., Any]:
    """{pod: value} of a vector, or the value of a scalar."""

    def run(query: str, time: float = END) -> Any:
        value = evaluate.instant(storage, parse(query), time)
        if not isinstance(value, list):
            return value
        return {
            point.labels.get("pod", ""): point.value for point in value if isinstance(point, evaluate.Point)
        }

    return run


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("1 + 2 * 3 ^ 2 ^ 0", 7.0),
        ("-2 ^ 2", -4.0),
        ("(1 + 2) * 3 % 5", 4.0),
        ("1 / 0", math.inf),
        ("0x1f + 1e1", 41.0),
        ("1 < bool 2", 1.0),
        ("time()", float(END)),
        ("vllm:num_requests_waiting", {"a": 0.0, "b": 2.0}),
        ('vllm:num_requests_waiting{pod="a"}', {"a": 0.0}),
        ('vllm:num_requests_waiting{pod!="a"}', {"b": 2.0}),
        ('{__name__=~"vllm:.*_waiting", pod=~"a|c"}', {"a": 0.0}),
        ('vllm:num_requests_waiting{pod!~"a.*", absent=""}', {"b": 2.0}),
        ("sum(vllm:num_requests_waiting)", {"": 2.0}),
        ("sum by (pod) (vllm:num_requests_waiting)", {"a": 0.0, "b": 2.0}),
        ("sum(vllm:num_requests_waiting) without (namespace)", {"a": 0.0, "b": 2.0}),
        ("avg(vllm:num_requests_waiting)", {"": 1.0}),
        ("max(vllm:num_requests_waiting)", {"": 2.0}),
        ("min(vllm:num_requests_waiting)", {"": 0.0}),
        ("count(vllm:num_requests_waiting)", {"": 2.0}),
        ("rate(requests_total[30s])", {"a": 10.0}),
        ("increase(requests_total[30s])", {"a": 300.0}),
        ("irate(requests_total[30s])", {"a": 10.0}),
        ("delta(vllm:num_requests_waiting{pod='b'}[30s])", {"b": 0.0}),
        ("max_over_time(vllm:num_requests_waiting[10s])", {"a": 4.0, "b": 2.0}),
        ("min_over_time(vllm:num_requests_waiting[10s])", {"a": 0.0, "b": 2.0}),
        ("avg_over_time(vllm:num_requests_waiting[10s])", {"a": 2.0, "b": 2.0}),
        ("sum_over_time(vllm:num_requests_waiting[10s])", {"a": 20.0, "b": 20.0}),
        ("count_over_time(vllm:num_requests_waiting[10s])", {"a": 10.0, "b": 10.0}),
        ("last_over_time(requests_total[10s])", {"a": 600.0}),
        ("quantile_over_time(0.5, vllm:num_requests_waiting[10s])", {"a": 2.0, "b": 2.0}),
        ("resets(restarting_total[1m])", {"a": 1.0}),
        ("histogram_quantile(0.5, latency_bucket)", {"a": pytest.approx(0.3)}),
        ("histogram_quantile(0.5, sum by (le) (rate(latency_bucket[30s])))", {"": pytest.approx(0.3)}),
        ("absent(nothing)", {"": 1.0}),
        ('absent(nothing{pod="x"})', {"x": 1.0}),
        ("absent(limit)", {}),
        ("vector(5)", {"": 5.0}),
        ("scalar(limit) * 2", 6.0),
        ("clamp_min(vllm:num_requests_waiting, 1)", {"a": 1.0, "b": 2.0}),
        ("clamp_max(vllm:num_requests_waiting, 1)", {"a": 0.0, "b": 1.0}),
        ("vllm:num_requests_waiting > 1", {"b": 2.0}),
        ("vllm:num_requests_waiting > bool 1", {"a": 0.0, "b": 1.0}),
        ("1 < vllm:num_requests_waiting", {"b": 2.0}),
        ("-vllm:num_requests_waiting", {"a": -0.0, "b": -2.0}),
        ("vllm:num_requests_waiting + vllm:num_requests_running", {"a": 7.0}),
        ("vllm:num_requests_running + on(pod) requests_total", {"a": 607.0}),
        ("vllm:num_requests_running + ignoring(namespace) requests_total", {"a": 607.0}),
        ("vllm:num_requests_running + requests_total", {}),
        ("sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)", {"": 9.0}),
        ("sum(nothing) or vector(0)", {"": 0.0}),
        ("vllm:num_requests_waiting and vllm:num_requests_running", {"a": 0.0}),
        ("vllm:num_requests_waiting unless vllm:num_requests_running", {"b": 2.0}),
        ("vllm:num_requests_running or vllm:num_requests_waiting", {"a": 7.0, "b": 2.0}),
        ("vllm:num_requests_waiting # a comment", {"a": 0.0, "b": 2.0}),
    ],
)
def test_queries(ask: Callable[..., Any], query: str, expected: Any) -> None:
    assert ask(query) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "no expression found in input"),
        ("sum(", "parse error: unclosed left parenthesis"),
        ("rate(up)", "expected type matrix in call to function 'rate', got vector"),
        ("nope(up)", "parse error: unknown function with name 'nope'"),
        ("up[5m] + 1", "binary expression must contain only scalar and instant vector types"),
        ("1 < 2", "comparisons between scalars must use BOOL modifier"),
        ('{job=""}', "vector selector must contain at least one non-empty matcher"),
        ('up{job="x"', "unexpected end of input"),
        ('up{job=~"("}', "illegal regex"),
        ("up offset 5m", "not supported"),
        ("up[5m:1m]", "subquery"),
        ("a + on(x) group_left b", "group_left"),
        ("sum(up[5m])", "expected type vector in aggregation expression, got matrix"),
        ("up and 1", "set operator 'and' not allowed in binary scalar expression"),
        ("up{a='b", "unterminated quoted string"),
        ("up $", "unexpected character: '$'"),
        ("clamp_min(up)", "expected 2 argument(s) in call to 'clamp_min', got 1"),
        ("(" * 200 + "1" + ")" * 200, "nested too deeply"),
        ("+".join(["a"] * 1001), "more than 2000 characters"),
        ("topk(1, a)", "topk is not supported"),
        ("deriv(a[5m])", "the function deriv is not supported"),
        ("a atan2 b", "atan2 is not supported"),
        ('a{b="1" or c="2"}', "or between matchers is not supported"),
        (r'a{b=~"\\pL"}', "the regexp"),
        ("a @ 5", "offset and @ are not supported"),
        ("up up", "invalid promql query"),
    ],
)
def test_what_is_not_promql_or_not_evaluated_says_why(query: str, message: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse(query)
    assert message in str(refused.value)


def test_a_range_selector_gives_raw_samples(storage: Storage) -> None:
    windows = evaluate.instant(storage, parse("requests_total[5s]"), END)
    assert isinstance(windows, list) and isinstance(windows[0], evaluate.Window)
    assert windows[0].samples == [(float(END - 4 + n), 10.0 * (56 + n)) for n in range(5)]


def test_a_range_is_evaluated_at_every_step(storage: Storage) -> None:
    found = evaluate.over_range(storage, parse("requests_total"), 1010, 1030, 10)
    assert [samples for _, samples in found] == [[(1010, 100.0), (1020, 200.0), (1030, 300.0)]]


def test_two_series_that_match_one_are_refused(storage: Storage) -> None:
    with pytest.raises(evaluate.QueryError, match="many-to-one"):
        evaluate.instant(storage, parse("vllm:num_requests_waiting + on() limit"), END)


def test_an_old_sample_counts_for_five_minutes(storage: Storage) -> None:
    for later, there in ((299.0, True), (300.0, False)):
        assert bool(evaluate.instant(storage, parse("limit"), END + later)) == there


def test_an_ended_series_is_gone_at_once_but_its_past_is_not(storage: Storage) -> None:
    storage.append(END + 1, [(series("limit"), STALE)])
    assert evaluate.instant(storage, parse("limit"), END + 2) == []
    windows = evaluate.instant(storage, parse("limit[3s]"), END + 2)
    assert isinstance(windows, list) and isinstance(windows[0], evaluate.Window)
    assert windows[0].samples == [(float(END), 3.0)]


def test_growth_is_extrapolated_to_the_ends_of_the_window() -> None:
    samples = [(10.0 * n, 100.0 + n) for n in range(1, 6)]  # 10 s apart, from 10 to 50
    assert extrapolated(samples, 0, 60, counter=True) == pytest.approx(6.0)  # one step missing at each end
    assert extrapolated(samples, -60, 60, counter=True) == pytest.approx(5.5)  # a gap of seven: half a step
    assert extrapolated(samples[:1], 0, 60, counter=True) is None


def test_a_counter_is_not_extrapolated_below_zero() -> None:
    assert extrapolated([(10, 1.0), (20, 11.0)], 0, 20, counter=True) == pytest.approx(11.0)


def test_a_reset_counter_grows_on() -> None:
    assert extrapolated([(0, 5.0), (10, 8.0), (20, 2.0)], 0, 20, counter=True) == pytest.approx(5.0)


def test_quantile_of_the_highest_bucket_is_the_last_bound() -> None:
    assert bucket_quantile(0.99, [(1, 1), (2, 2), (math.inf, 10)]) == 2
    assert math.isnan(bucket_quantile(0.5, [(1, 1), (2, 2)]))
    assert quantile(0.25, [1, 2, 3, 4, 5]) == 2


def test_durations() -> None:
    assert duration_seconds("1h30m") == 5400
    assert duration_seconds("500ms") == 0.5
    with pytest.raises(ValueError, match="duration"):
        duration_seconds("soon")

"""PromQL over samples put in by hand: one a second from 1000 to 1060."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slipway_sandbox.images.prometheus import evaluate
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
                (series("limit"), 3.0),
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
        ("1 + 2", 3.0),
        ("1 + 2 * 3", 7.0),
        ("vllm:num_requests_waiting", {"a": 0.0, "b": 2.0}),
        ('vllm:num_requests_waiting{pod="a"}', {"a": 0.0}),
        ('vllm:num_requests_waiting{pod!="a"}', {"b": 2.0}),
        ('{__name__=~"vllm:.*_waiting", pod=~"a|c"}', {"a": 0.0}),
        ('vllm:num_requests_waiting{pod!~"a.*", absent=""}', {"b": 2.0}),
        ("sum(vllm:num_requests_waiting)", {"": 2.0}),
        ("sum by (pod) (vllm:num_requests_waiting)", {"a": 0.0, "b": 2.0}),
        ("vector(5)", {"": 5.0}),
        ("1 + (vllm:num_requests_waiting)", {"a": 1.0, "b": 3.0}),
        ("vllm:num_requests_waiting + vllm:num_requests_running", {"a": 7.0}),
        ("vllm:num_requests_running + requests_total", {}),
        ("sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)", {"": 9.0}),
        ("10 * sum(vllm:num_requests_waiting) + sum(nothing)", {}),
        ("vllm:num_requests_waiting * 10", {"a": 0.0, "b": 20.0}),
        ("sum(vllm:num_requests_running) + sum(nothing)", {}),
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
        ('{job=""}', "vector selector must contain at least one non-empty matcher"),
        ('up{job="x"', "unexpected end of input"),
        ('up{job=~"("}', "illegal regex"),
        ("up offset 5m", "not supported"),
        ("up[5m:1m]", "subquery"),
        ("a + on(x) b", "on and ignoring are not supported"),
        ("sum without (x) (a)", "without is not supported"),
        ("a == 1", "the operator == is not supported"),
        ("a - b", "the operator - is not supported"),
        ("a or b", "the operator or is not supported"),
        ("-a", "not supported"),
        ("'text'", "not supported"),
        ("sum(up[5m])", "expected type vector in aggregation expression, got matrix"),
        ("up{a='b", "unterminated quoted string"),
        ("up $", "unexpected character: '$'"),
        ("vector()", "expected 1 argument(s) in call to 'vector', got 0"),
        ("(" * 200 + "1" + ")" * 200, "nested too deeply"),
        ("+".join(["a"] * 1001), "more than 2000 characters"),
        ("topk(1, a)", "topk is not supported"),
        ("rate(a[5m])", "the function rate is not supported"),
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


def test_two_series_with_the_same_labels_are_refused(storage: Storage) -> None:
    with pytest.raises(evaluate.QueryError, match="duplicate series"):
        evaluate.instant(storage, parse('{__name__=~"vllm:.*"} + limit'), END)


def test_an_old_sample_counts_for_five_minutes(storage: Storage) -> None:
    for later, there in ((299.0, True), (300.0, False)):
        assert bool(evaluate.instant(storage, parse("limit"), END + later)) == there


def test_an_ended_series_is_gone_at_once_but_its_past_is_not(storage: Storage) -> None:
    storage.append(END + 1, [(series("limit"), STALE)])
    assert evaluate.instant(storage, parse("limit"), END + 2) == []
    windows = evaluate.instant(storage, parse("limit[3s]"), END + 2)
    assert isinstance(windows, list) and isinstance(windows[0], evaluate.Window)
    assert windows[0].samples == [(float(END), 3.0)]


def test_durations() -> None:
    assert duration_seconds("1h30m") == 5400
    assert duration_seconds("500ms") == 0.5
    with pytest.raises(ValueError, match="duration"):
        duration_seconds("soon")

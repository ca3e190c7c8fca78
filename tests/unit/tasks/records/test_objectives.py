"""Objectives: units, what the old flat names are answered with, and reports recorded under those names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.records.catalogue import load_model
from tasks.records.errors import InvalidDocument
from tasks.records.objectives import LATENCIES, OLD_NAMES, PERCENTILES, Objectives
from tasks.records.quantities import parse_duration, write_duration
from tasks.records.reports import LoadReport, Sweep

RECORDED = Path(__file__).parent / "recorded"


def objectives(**given: Any) -> Objectives:
    return Objectives.model_validate(given)


def refused(tmp_path: Path, lines: str) -> list[str]:
    """What is said of a model's file with these objectives, from line 4 on."""
    (tmp_path / "models").mkdir()
    (tmp_path / "environments").mkdir()
    text = "name: tiny\nsource: {repo: acme/tiny}\nobjectives:\n" + lines + "load: {rate: 1}\n"
    (tmp_path / "models" / "tiny.yaml").write_text(text)
    with pytest.raises(InvalidDocument) as caught:
        load_model("tiny", tmp_path)
    return [caught.value.cause, *caught.value.evidence]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ttft_p95_ms: 500", "ttft: {p95: 500ms}"),
        ("ttft_p95_ms: 1500", "ttft: {p95: 1.5s}"),
        ("tpot_p50_ms: 12.5", "tpot: {p50: 12.5ms}"),
        ("itl_p99_ms: 0.1", "itl: {p99: 0.1ms}"),
        ("e2e_p90_ms: 2000", "e2e: {p90: 2s}"),
        ("request_ttft_ms: 500", "each: {ttft: 500ms}"),
        ("request_e2e_ms: '500'", "each: {e2e: 500ms}"),
        ("max_error_rate: 0.001", "errors: 0.001"),
        ("min_goodput: 0.95", "goodput: 0.95"),
        ("min_output_tokens_per_second: 900", "output_tokens_per_second: 900"),
        ("min_requests_per_second: 3", "requests_per_second: 3"),
        ("max_regression: null", "regression: null"),
        ("ttft_p95_ms: fast", "ttft: {p95: fast}"),
    ],
)
def test_an_old_name_is_answered_with_its_line_and_the_new_text(tmp_path: Path, old: str, new: str) -> None:
    [said] = refused(tmp_path, f"  {old}\n")
    assert said.startswith(f"models/tiny.yaml:4: objectives.{old.partition(':')[0]}: old name; write {new}")


def test_old_names_that_become_one_entry_are_told_together(tmp_path: Path) -> None:
    """Two entries `ttft:` would be one too many: YAML keeps the last."""
    lines = "  ttft_p50_ms: 100\n  errors: 0\n  ttft: {p99: 2s}\n  ttft_p95_ms: 500\n"
    first, second = refused(tmp_path, lines)
    assert "tiny.yaml:4: objectives.ttft_p50_ms" in first
    assert "tiny.yaml:7: objectives.ttft_p95_ms" in second
    assert "write ttft: {p99: 2s, p50: 100ms, p95: 500ms}" in first
    assert "write ttft: {p99: 2s, p50: 100ms, p95: 500ms}" in second


def test_what_is_written_instead_is_accepted() -> None:
    found = objectives(ttft={"p95": "1.5s"}, each={"ttft": "500ms"}, errors=0.001, goodput=0.95)
    assert list(found.latencies()) == [("ttft", "p95", 1.5)]
    assert list(found.each.bounds()) == [("ttft", 0.5)]


def test_there_is_a_new_place_for_each_old_name() -> None:
    assert len(OLD_NAMES) == 16 + 3 + 5
    for first, *second in OLD_NAMES.values():
        value = {second[0]: "1s"} if second else 0.5
        found = objectives(**{"each": {"ttft": "1s"}, first: value})
        assert getattr(found, first) != getattr(Objectives(), first)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ttft": {"p95": 500}}, "a latency needs a unit: 500ms or 500s"),
        ({"each": {"e2e": 0.5}}, "a latency needs a unit: 0.5ms or 0.5s"),
        ({"ttft": {"p95": "0ms"}}, "greater than 0"),
        ({"ttft": {"p95": "soon"}}, "not a duration"),
        ({"ttft": {"p75": "1s"}}, "Extra inputs"),
        ({"ttft": "1s"}, "valid dictionary"),
        ({"each": {"itl": "1s"}}, "Extra inputs"),
        ({"errors": 2}, "less than or equal to 1"),
    ],
)
def test_what_is_no_objective_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        objectives(**given)


@given(st.floats(1e-9, 1e6))
def test_a_duration_is_read_back_as_it_was_written(seconds: float) -> None:
    assert parse_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (2.0, "2s"), (1.5, "1.5s"), (0.0125, "12.5ms"), (90.0, "90s"), (1e-6, "0.001ms")],
)
def test_a_duration_is_written_with_its_unit(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


def test_objectives_in_json_are_written_as_in_a_file() -> None:
    given = {"ttft": {"p95": "500ms"}, "each": {"ttft": "1.5s"}, "errors": 0.0}
    found = objectives(**given)
    assert found.model_dump(mode="json", exclude_defaults=True) == given
    assert Objectives.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("name", LATENCIES)
def test_every_latency_has_a_bound_at_each_percentile(name: str, percentile: str) -> None:
    assert list(objectives(**{name: {percentile: "1s"}}).latencies()) == [(name, percentile, 1.0)]


# ------------------------------------------------------------- written by 0.1.0


def test_a_report_recorded_under_the_old_names_is_read() -> None:
    """A ledger is evidence and what going back needs: an upgrade must not make it unreadable."""
    report = LoadReport.model_validate_json((RECORDED / "load-report-at-bb2c55b.json").read_text())
    assert [(one.figure, one.percentile) for one in report.objectives] == [
        ("ttft", "p95"),
        ("itl", "p50"),
        ("tpot", "p99"),
        ("e2e", "p90"),
        ("errors", None),
        ("goodput", None),
        ("output_tokens_per_second", None),
        ("requests_per_second", None),
    ]
    assert report.comparison is not None
    figures = [one.name for one in report.comparison.figures]
    assert figures == ["ttft p50", "ttft p95", "tpot p50", "tpot p95", "e2e p50", "e2e p95", "errors"]
    assert LoadReport.model_validate_json(report.model_dump_json()) == report


def test_a_sweep_recorded_with_flat_fields_is_read() -> None:
    sweep = Sweep.model_validate_json((RECORDED / "sweep-at-bb2c55b.json").read_text())
    assert [(step.ttft.p50, step.ttft.p95, step.tpot.p95) for step in sweep.steps] == [(1.0, 2.0, 3.0)] * 5
    assert {step.e2e.count for step in sweep.steps} == {100}
    assert Sweep.model_validate_json(sweep.model_dump_json()) == sweep

"""Two runs beside each other: what is noise, what is worse."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.records.reports import Block, Comparison, LoadReport
from tasks.validation.compare import SIGMAS, compare, with_comparison
from tests.support.reports import a_run


def worse(now: dict[str, Any], before: dict[str, Any], margin: float = 0.1) -> set[str]:
    found = compare(a_run(2, **now), a_run(1, **before), margin, "r1")
    assert found.compared, found.why
    return {figure.name for figure in found.figures if figure.regressed}


LATENCIES = {f"{m} {p}" for m in ("ttft", "tpot", "e2e") for p in ("p50", "p95")}


@pytest.mark.parametrize(
    ("now", "before", "margin", "names"),
    [
        ({}, {}, 0.1, set()),
        ({"slower": 0.5}, {}, 0.1, set()),  # faster is no regression
        ({"slower": 1.05}, {}, 0.1, set()),  # within the margin
        ({"slower": 1.5}, {}, 0.1, LATENCIES),
        ({"slower": 1.5}, {}, 1.0, set()),  # a margin as wide as that
        ({"failing": 0.2}, {}, 0.1, {"errors"}),
        ({"failing": 0.01}, {}, 0.1, set()),  # four in 400 are chance
        ({"failing": 0.2}, {"failing": 0.2}, 0.1, set()),
        ({"closed": True, "slower": 2.0}, {"closed": True}, 0.1, LATENCIES | {"output_tokens_per_second"}),
    ],
)
def test_what_is_worse_beyond_margin_and_noise(
    now: dict[str, Any], before: dict[str, Any], margin: float, names: set[str]
) -> None:
    assert worse(now, before, margin) == names


def test_noise_hides_what_a_quiet_run_shows() -> None:
    """A fifth slower with a margin of 10 %: told between quiet runs, not between runs of wild spread."""
    assert "ttft p50" in worse({"slower": 1.2, "spread": 0.05}, {"spread": 0.05})
    assert "ttft p50" not in worse({"slower": 1.2, "spread": 1.5}, {"spread": 1.5})


def test_a_run_as_good_is_seldom_called_worse() -> None:
    """Without any margin the noise alone must hold: 30 pairs of equal runs, 7 figures each."""
    called = sum(
        figure.regressed
        for seed in range(30)
        for figure in compare(a_run(2 * seed), a_run(2 * seed + 1), 1e-9, "r").figures
    )
    assert called <= 2


def test_what_is_allowed_is_the_margin_and_three_times_the_noise() -> None:
    found = compare(a_run(2), a_run(1), 0.1, "r1")
    for figure in found.figures:
        assert figure.allowed == pytest.approx(0.1 * figure.before + SIGMAS * figure.noise)


def test_the_noise_is_the_spread_of_the_blocks() -> None:
    """40 blocks of 10 lognormal draws of 10 %: a block's median spreads by 0.1 * 1.25 / sqrt(10), two means of 40 by 0.89 ms."""
    [figure] = [f for f in compare(a_run(2), a_run(1), 0.1, "r1").figures if f.name == "ttft p50"]
    expected = 100 * 0.1 * 1.25 / 10**0.5 / 40**0.5 * 2**0.5
    assert figure.noise == pytest.approx(expected, rel=0.4)


@pytest.mark.parametrize(
    ("before", "margin", "why"),
    [
        (None, 0.1, "nothing to compare with"),
        (a_run(1, profile="p2"), 0.1, "under another load"),
        (a_run(1, profile=""), 0.1, "under another load"),
        (a_run(1), None, "objectives.regression is null"),
        (a_run(1, requests=40), 0.1, "4 blocks of requests say nothing"),
    ],
)
def test_what_cannot_be_compared_is_said(before: Any, margin: float | None, why: str) -> None:
    found = compare(a_run(2), before, margin, "r1" if before else None)
    assert not found.compared
    assert why in found.why
    assert found.figures == ()
    assert with_comparison(a_run(2), found).verdict == "PASS"


def verdict(**now: Any) -> tuple[str, str]:
    run = a_run(2, **now)
    found = with_comparison(run, compare(run, a_run(1), 0.1, "r1"))
    assert found.comparison is not None
    return found.verdict, "; ".join(found.reasons)


def test_a_pass_that_is_worse_fails_and_says_by_how_much() -> None:
    said, reasons = verdict(slower=1.5)
    assert said == "FAIL"
    assert "ttft p50: 15" in reasons
    assert "was 10" in reasons
    assert "in release r1" in reasons


def test_a_pass_that_is_no_worse_passes() -> None:
    assert verdict()[0] == "PASS"


def test_a_fail_keeps_its_own_reasons_first() -> None:
    said, reasons = verdict(slower=1.5, ttft={"p50": "50ms"})
    assert said == "FAIL"
    assert reasons.startswith("ttft p50: 15") and "objective: at most 50 ms" in reasons.split("; ")[0]


@pytest.mark.parametrize(("lag", "expected"), [(20.0, "FAIL"), (400.0, "INCONCLUSIVE")])
def test_a_generator_as_late_as_the_regression_cannot_tell(lag: float, expected: str) -> None:
    """First tokens and ends are 60 and 150 ms later; time per output token, which a late send does not touch, is as it was."""
    slow = a_run(2, slower=1.6)
    now = slow.model_copy(update={"loop_lag_p99_ms": lag, "blocks": with_tpot_of(a_run(2), slow)})
    assert with_comparison(now, compare(now, a_run(1), 0.1, "r1")).verdict == expected


def with_tpot_of(run: LoadReport, other: LoadReport) -> tuple[Block, ...]:
    pairs = zip(run.blocks, other.blocks, strict=True)
    return tuple(late.model_copy(update={"tpot": early.tpot}) for early, late in pairs)


def test_what_told_nothing_does_not_fail_for_being_worse() -> None:
    run = a_run(2, slower=1.5).model_copy(update={"verdict": "INCONCLUSIVE"})
    found = with_comparison(run, compare(run, a_run(1), 0.1, "r1"))
    assert found.verdict == "INCONCLUSIVE"
    assert isinstance(found.comparison, Comparison)

"""Steps of a sweep."""

from __future__ import annotations

from typing import Any

from tasks.records.reports import Distribution, SweepStep


def step(rate: float, verdict: Any = "PASS", *, in_flight: float | None = None) -> SweepStep:
    reason = {"PASS": "all hold", "FAIL": "ttft p95: 900 ms", "INCONCLUSIVE": "the generator was late"}
    return SweepStep(
        rate=rate, verdict=verdict, reason=reason[verdict], requests=100, in_flight=2 * rate if in_flight is None else in_flight,
        ttft=Distribution(count=100, p50=1, p95=2), tpot=Distribution(count=100, p95=3), e2e=Distribution(count=100, p50=4, p95=5), output_tokens_per_second=6, error_rate=0,
    )  # fmt: skip


GOOD = [step(8), step(16, "FAIL"), step(10), step(11, "FAIL"), step(10)]

"""Steps of a sweep."""

from __future__ import annotations

from typing import Any

from tasks.records.results import SweepStep


def step(rate: float, verdict: Any = "PASS", *, in_flight: float | None = None) -> SweepStep:
    reason = {"PASS": "all hold", "FAIL": "ttft_p95_ms: 900", "INCONCLUSIVE": "the generator was late"}[
        verdict
    ]
    return SweepStep(
        rate=rate, verdict=verdict, reason=reason, requests=100, in_flight=2 * rate if in_flight is None else in_flight,
        ttft_p50=1, ttft_p95=2, tpot_p95=3, e2e_p50=4, e2e_p95=5, output_tokens_per_second=6, error_rate=0,
    )  # fmt: skip


GOOD = [step(8), step(16, "FAIL"), step(10), step(11, "FAIL"), step(10)]

"""Requests a minute of each model, from raw samples of the gateway's counters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cloud.prometheus import TimeSeries, increase

REQUESTS = "slipway_gateway_requests_total"  # k8s/gateway/metrics.js
LEAST_WINDOW = 60.0


def window_of(scrape_interval: float) -> float:
    """Seconds to look back: a minute, or some scrapes where they are rare."""
    return max(LEAST_WINDOW, 4 * scrape_interval)


def is_scraped(up: Sequence[TimeSeries]) -> bool:
    """Whether the last scrape of any gateway pod worked. `up`: Prometheus' own metric of them."""
    return any(series.samples and series.samples[-1][1] == 1 for series in up)


def by_model(counters: Sequence[TimeSeries], up: Sequence[TimeSeries], window: float) -> dict[str, float]:
    """Requests a minute of each model that had one. `window`: seconds that the samples cover."""
    rose: dict[str, float] = {}
    scraped = {series.labels.get("pod", ""): series.samples[0][0] for series in up if series.samples}
    for series in counters:
        if not series.samples:
            continue
        at, first = series.samples[0]
        # NGINX makes a counter with its first request: before, it was zero, where the pod was scraped then
        born = first if scraped.get(series.labels.get("pod", ""), at) < at else 0.0
        model = series.labels.get("model", "")
        rose[model] = rose.get(model, 0.0) + born + increase(series)
    return {model: total * 60.0 / window for model, total in rose.items()}

"""Metrics `http_*` of vLLM's page, as prometheus-fastapi-instrumentator writes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from slipway_sandbox.images.vllm.metrics import Histogram, family, labels, number

# vLLM's own list: probes and scrapes are not counted
EXCLUDED: Final = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")
_HIGHR: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60,
)  # fmt: skip


class HttpMetrics:
    """Request counts, sizes and durations by handler: the route, or `none` if no route matched."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._requests: dict[str, list[float]] = {}
        self._sizes: dict[str, dict[str, list[float]]] = {"request": {}, "response": {}}
        self._all = Histogram("http_request_duration_highr_seconds", _HIGHR, {}, now())
        self._durations: dict[str, Histogram] = {}

    def record(
        self, handler: str, method: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        created = self._now()
        key = labels({"handler": handler, "method": method, "status": f"{status // 100}xx"})
        self._requests.setdefault(key, [0.0, created])[0] += 1
        for direction, size in (("request", received), ("response", sent)):
            entry = self._sizes[direction].setdefault(labels({"handler": handler}), [0.0, 0.0, created])
            entry[0] += 1
            entry[1] += size
        pairs = {"handler": handler, "method": method}
        if (key := labels(pairs)) not in self._durations:
            self._durations[key] = Histogram("http_request_duration_seconds", (0.1, 0.5, 1.0), pairs, created)
        self._durations[key].observe(seconds)
        self._all.observe(seconds)

    def page(self) -> Iterable[str]:
        text = "Total number of requests by method, status and handler."
        for suffix, kind, index in (("total", "counter", 0), ("created", "gauge", 1)):
            name = f"http_requests_{suffix}"
            yield from family(
                name, text, kind, (f"{name}{key} {number(v[index])}" for key, v in self._requests.items())
            )
        for direction, noun in (("request", "incoming requests"), ("response", "outgoing responses")):
            yield from self._summary(direction, noun)
        text = "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. "
        name = "http_request_duration_highr_seconds"
        yield from family(name, text, "histogram", self._all.samples())
        yield from family(f"{name}_created", text, "gauge", [self._all.created()])
        text = "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. "
        name = "http_request_duration_seconds"
        every = self._durations.values()
        yield from family(name, text, "histogram", (sample for h in every for sample in h.samples()))
        yield from family(f"{name}_created", text, "gauge", (h.created() for h in every))

    def _summary(self, direction: str, noun: str) -> Iterable[str]:
        name = f"http_{direction}_size_bytes"
        text = (
            f"Content length of {noun} by handler. Only value of header is respected. Otherwise ignored. "
            "No percentile calculated. "
        )
        sizes = self._sizes[direction].items()
        counts = (
            f"{name}_{part}{key} {number(v[i])}"
            for key, v in sizes
            for i, part in enumerate(("count", "sum"))
        )
        yield from family(name, text, "summary", counts)
        created = (f"{name}_created{key} {number(v[2])}" for key, v in sizes)
        yield from family(f"{name}_created", text, "gauge", created)

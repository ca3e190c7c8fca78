"""What runs and requests say of a server. Pure."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

# Prefect calls a run late that has not begun 15 s after it was due (PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS)
LATE_SECONDS = 15.0
# a server keeps up with a rate where no run is late and 95 of 100 are taken within this
SOON_SECONDS = 5.0
REQUEST = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE) (/api/\S+) HTTP/[\d.]+" (\d{3})')
IDENTITY = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
# of the bench itself
OWN = ("/api/health", "/api/deployments/filter?bench")


def requests(lines: Iterable[str]) -> Counter[tuple[str, int]]:
    """Requests by (path, status) of an access log of uvicorn, without the bench's own; ids are `ID`."""
    found: Counter[tuple[str, int]] = Counter()
    for line in lines:
        if (match := REQUEST.search(line)) and not match[1].startswith(OWN):
            found[IDENTITY.sub("ID", match[1].partition("?")[0]), int(match[2])] += 1
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and extremes. Raises StatisticsError without a value."""
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
    }


def delays(runs: Iterable[Mapping[str, Any]], now: datetime) -> list[float]:
    """By how many seconds each run began after it was due; of one that has not begun: by how many until now."""
    found = []
    for run in runs:
        due = datetime.fromisoformat(run["expected_start_time"])
        began = datetime.fromisoformat(run["start_time"]) if run["start_time"] else now
        found.append(max(0.0, (began - due).total_seconds()))
    return found


def keeps_up(figures: Mapping[str, Any]) -> bool:
    """Whether the runs of a rate began in time, and no request failed."""
    return (
        figures["late"] == 0 and figures["delay_s"]["p95"] <= SOON_SECONDS and not figures["failed_requests"]
    )


def limit(rates: Sequence[Mapping[str, Any]]) -> str:
    """The first rate that a server did not keep up with, and why; else the highest that it did."""
    for figures in rates:
        if not keeps_up(figures):
            return (
                f"not {figures['rate']} an hour: {figures['late']} of {figures['runs']} late, "
                f"p95 {figures['delay_s']['p95']:.1f} s after due, {figures['failed_requests']} requests failed, "
                f"server {figures['server_cores']:.2f} cores, runs {figures['runner_cores']:.2f} cores"
            )
    return f"not reached at {rates[-1]['rate']} an hour"

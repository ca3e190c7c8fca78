"""Decide whether a model is idle, from raw samples over a window. Missing metrics mean it is not. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tasks.cloud.prometheus import TimeSeries, increase
from tasks.records.model import Scaling
from tasks.records.quantities import human_seconds
from tasks.records.results import IdleDecision

REQUESTS = "vllm:request_success_total"
# of requests that clients leave too: vLLM counts those nowhere else (0.32.0, v1/metrics/loggers.py; vllm-project/vllm#31503)
PROMPTS = "vllm:prompt_tokens_total"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
UTILIZATION = "DCGM_FI_DEV_GPU_UTIL"


@dataclass(frozen=True)
class Signals:
    """Raw samples by metric, the pods that must have them, and when they were read (seconds since the epoch)."""

    series: Mapping[str, Sequence[TimeSeries]]
    pods: tuple[str, ...]
    read_at: float
    scrape_interval: float


def decide(signals: Signals, scaling: Scaling) -> IdleDecision:
    """Scale down only where every signal of every pod covers the whole window and is idle."""
    window = scaling.idle_after
    if not signals.pods:
        return IdleDecision(act=False, reason="nothing serves: there is nothing to scale down", evidence=())
    evidence: list[str] = []
    for metric in (REQUESTS, PROMPTS, RUNNING, WAITING, UTILIZATION):
        for pod in signals.pods:
            mine = [series for series in signals.series.get(metric, ()) if _pod(series) == pod]
            gap = uncovered(mine, signals, window)
            mine = [within(series, signals.read_at - window) for series in mine]
            if gap:
                return IdleDecision(act=False, reason=f"{metric} of {pod}: {gap}", evidence=tuple(evidence))
            busy, line = _judge(metric, pod, mine, scaling)
            evidence.append(line)
            if busy:
                return IdleDecision(act=False, reason=line, evidence=tuple(evidence))
    return IdleDecision(
        act=True,
        reason=f"no request, nothing queued and GPUs idle for {human_seconds(window)}",
        evidence=tuple(evidence),
    )


class Going(Enum):
    """How a scale-down to zero ended."""

    ASLEEP = "no replica is left"
    WOKEN = "a request came and woke it: its nodes stay"


def going(*, paused: bool, pods: int) -> Going | None:
    """Whether a scale-down has ended; None while pods drain. Who ends its pause has woken the model."""
    if not paused:
        return Going.WOKEN
    return Going.ASLEEP if pods == 0 else None


def within(series: TimeSeries, start: float) -> TimeSeries:
    """The samples of the window and the last one before it, which is a counter's value when the window began."""
    before = [sample for sample in series.samples if sample[0] < start]
    return TimeSeries(series.labels, (*before[-1:], *(s for s in series.samples if s[0] >= start)))


def uncovered(series: Sequence[TimeSeries], signals: Signals, window: float) -> str | None:
    """Why the samples do not cover the whole window; None where they do.

    Three scrapes may be missing at either end or in between: Prometheus loses one now and then.
    """
    if not series:
        return "no series: not taken for idle"
    slack = 3 * signals.scrape_interval + 1.0
    for one in series:
        times = [at for at, _ in one.samples]
        if not times:
            return "no samples: not taken for idle"
        if times[0] > signals.read_at - window + slack:
            seen = max(0.0, signals.read_at - times[0])
            return f"seen for {human_seconds(seen)} only, {human_seconds(window)} are needed"
        if not all(math.isfinite(value) for _, value in one.samples):
            return "a sample that is no number: not taken for idle"
        edges = [*times, signals.read_at]
        widest = max(later - earlier for earlier, later in itertools.pairwise(edges))
        if widest > slack:
            return f"a gap of {human_seconds(widest)} in its samples: not taken for idle"
    return None


def _judge(metric: str, pod: str, series: Sequence[TimeSeries], scaling: Scaling) -> tuple[bool, str]:
    """Whether one pod's series of one metric are busy, and the evidence line."""
    if metric == REQUESTS:
        # a counter: a rise is requests, a fall is a restart, which counts from zero
        finished = sum(increase(one) for one in series)
        return finished > 0, f"{pod}: {finished:.0f} requests finished"
    if metric == PROMPTS:
        read = sum(increase(one) for one in series)
        return read > 0, f"{pod}: {read:.0f} prompt tokens read, also of requests that were left"
    highest = max(value for one in series for _, value in one.samples)
    if metric == UTILIZATION:
        bound = scaling.idle_gpu_utilization
        return highest > bound, f"{pod}: GPU utilisation up to {highest:.0f} % (idle: {bound:.0f} % or less)"
    what = "running" if metric == RUNNING else "waiting"
    return highest > 0, f"{pod}: up to {highest:.0f} requests {what}"


def _pod(series: TimeSeries) -> str:
    # the DCGM exporter is a pod itself; the one it reports about may be exported_pod
    return series.labels.get("exported_pod") or series.labels.get("pod", "")

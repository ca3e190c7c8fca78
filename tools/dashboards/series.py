"""Made series of an afternoon of two models, under the names and labels that the real exporters give them.

A test evaluates every query of every dashboard over them, and the pictures in the docs are drawn from them. Figures are
made up; names and labels are not: see tools/dashboards/description.py for where they are from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SECONDS, STEP = 3 * 3600, 15
NAMESPACE = "llm"
MODELS = ("llama-3-1-8b-instruct", "qwen3-14b")
Shape = Callable[[float], float | None]
# bounds of a histogram, and the share of requests within each
LATENCIES = {
    "vllm:time_to_first_token_seconds": (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    "vllm:request_time_per_output_token_seconds": (0.01, 0.025, 0.05, 0.075, 0.1, 0.2),
    "vllm:e2e_request_latency_seconds": (0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    "vllm:request_queue_time_seconds": (0.3, 0.5, 0.8, 1.0, 1.5, 5.0),
}
GATEWAY = {
    "slipway_gateway_request_seconds": (0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    "slipway_gateway_first_byte_seconds": (0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
}


@dataclass(frozen=True)
class Made:
    """One series; `shape`: seconds since the beginning -> value, None where there is no sample."""

    name: str
    labels: dict[str, str]
    shape: Shape


def wave(low: float, high: float, period: float, phase: float = 0.0) -> Shape:
    """Between two values, over and over."""
    return lambda t: low + (high - low) * (0.5 + 0.5 * math.sin(2 * math.pi * (t / period + phase)))


def rising(rate: Shape, since: float = 0.0) -> Shape:
    """A counter that rises at a rate a second."""
    times = range(int(since), SECONDS + STEP, STEP)
    sums = [0.0, *itertools.accumulate((rate(float(time)) or 0.0) * STEP for time in times)]
    return lambda t: None if t < since else sums[int((t - since) // STEP)]


def series() -> Iterator[Made]:
    """All of them."""
    for number, model in enumerate(MODELS):
        asleep_until = 0.0 if number == 0 else 3600.0
        yield from _model(model, number, asleep_until)
    yield from _gpus()
    deployment = {"namespace": NAMESPACE, "deployment": f"vllm-{MODELS[1]}"}
    labels = {
        "alertname": "SlipwayFirstTokenSlow",
        "alertstate": "firing",
        "model": MODELS[0],
        "severity": "warning",
    }
    yield Made("ALERTS", labels, lambda t: 1.0 if 5400 < t < 6600 else None)
    yield Made("kube_deployment_spec_replicas", deployment, lambda t: 1.0 if t > 3400 else 0.0)
    yield Made("kube_deployment_status_replicas_available", deployment, lambda t: 1.0 if t > 3600 else 0.0)
    deployment = {"namespace": NAMESPACE, "deployment": f"vllm-{MODELS[0]}"}
    wanted: Shape = lambda t: 2.0 if 5000 < t < 8000 else 1.0  # noqa: E731
    yield Made("kube_deployment_spec_replicas", deployment, wanted)
    yield Made(
        "kube_deployment_status_replicas_available", deployment, lambda t: 2.0 if 5240 < t < 8000 else 1.0
    )


def _model(model: str, number: int, since: float) -> Iterator[Made]:
    pod = {"namespace": NAMESPACE, "pod": f"vllm-{model}-7d9c5b6f4-x2x4z"}
    engine = {**pod, "model_name": model, "engine": "0"}
    requests = wave(0.5, 4.0 + number, 5400, 0.3 * number)
    validation: Shape = lambda t: 6.0 if 1800 < t < 2100 and number == 0 else 0.0  # noqa: E731

    def awake(shape: Shape) -> Shape:
        return lambda t: shape(t) if t >= since else None

    for key, code, rate in (
        ("team-a", "200", requests),
        ("team-b", "200", wave(0.1, 1.0, 3600, 0.2)),
        ("team-a", "502", wave(0.0, 0.06, 7200)),
        ("slipway", "200", validation),
        ("slipway", "503", lambda t: 0.05 if 1900 < t < 1960 and number == 0 else 0.0),
    ):
        labels = {"namespace": NAMESPACE, "pod": "llm-gateway-6f-1", "model": model, "key": key, "code": code}
        yield Made("slipway_gateway_requests_total", labels, rising(rate, since))
    bounds: tuple[float, ...]
    for name, bounds in GATEWAY.items():
        gateway = {"namespace": NAMESPACE, "pod": "llm-gateway-6f-1", "model": model}
        yield from _histogram(name, gateway, bounds, requests, since)
    for name, bounds in LATENCIES.items():
        yield from _histogram(name, engine, bounds, requests, since)
    yield Made("vllm:num_requests_running", engine, awake(wave(1, 24, 5400, 0.3 * number)))
    yield Made(
        "vllm:num_requests_waiting", engine, awake(lambda t: 6.0 if 5000 < t < 5240 and number == 0 else 0.0)
    )
    yield Made("vllm:kv_cache_usage_perc", engine, awake(wave(0.1, 0.85, 5400, 0.3 * number)))
    yield Made("vllm:prompt_tokens_total", engine, rising(wave(300, 2400, 5400, 0.3 * number), since))
    yield Made("vllm:generation_tokens_total", engine, rising(wave(120, 1100, 5400, 0.3 * number), since))
    yield Made("vllm:prefix_cache_queries_total", engine, rising(wave(300, 2400, 5400, 0.3 * number), since))
    yield Made("vllm:prefix_cache_hits_total", engine, rising(wave(90, 1300, 5400, 0.3 * number), since))
    yield Made("vllm:num_preemptions_total", engine, rising(wave(0, 0.02, 5400), since))
    container = {**pod, "container": "vllm"}
    yield Made(
        "kube_pod_container_status_restarts_total",
        container,
        awake(lambda t: 1.0 if t > 7000 and number else 0.0),
    )
    yield Made(
        "kube_pod_container_resource_requests",
        {**container, "resource": "nvidia_com_gpu"},
        awake(lambda t: 1.0),
    )
    made = since - 200.0
    yield Made("kube_pod_created", pod, awake(lambda t: made))
    yield Made("kube_pod_status_scheduled_time", pod, awake(lambda t: made + 75.0 + 20 * number))
    yield Made("kube_pod_status_ready_time", pod, awake(lambda t: made + 200.0))
    waits: Shape = lambda t: 1.0 if 3400 < t < 3500 and number else 0.0  # noqa: E731
    yield Made("kube_pod_status_phase", {**pod, "phase": "Pending"}, waits)


def _histogram(
    name: str, labels: dict[str, str], bounds: tuple[float, ...], rate: Shape, since: float
) -> Iterator[Made]:
    for number, bound in enumerate([*bounds, math.inf]):
        share = 1 - 0.5 ** (number + 1) if bound < math.inf else 1.0
        le = "+Inf" if bound == math.inf else f"{bound}"
        yield Made(f"{name}_bucket", {**labels, "le": le}, rising(_share(rate, share), since))


def _share(rate: Shape, share: float) -> Shape:
    return lambda t: (rate(t) or 0.0) * share


def _gpus() -> Iterator[Made]:
    for number, node in enumerate(("ip-10-0-1-17.ec2.internal", "ip-10-0-1-88.ec2.internal")):
        gpu = {"Hostname": node, "gpu": "0", "modelName": "NVIDIA A10G"}
        busy: Shape = wave(35, 97, 5400, 0.3) if number == 0 else lambda t: 0.0
        used = 21_000.0 if number == 0 else 400.0
        yield Made("DCGM_FI_DEV_GPU_UTIL", gpu, busy)
        yield Made("DCGM_FI_DEV_FB_USED", gpu, _constant(used))
        yield Made("DCGM_FI_DEV_FB_FREE", gpu, _constant(23_028.0 - used))
        yield Made("DCGM_FI_DEV_POWER_USAGE", gpu, wave(60, 270 if number == 0 else 62, 5400, 0.3))
        yield Made("DCGM_FI_DEV_GPU_TEMP", gpu, wave(30, 68 if number == 0 else 31, 5400, 0.3))
        yield Made("DCGM_FI_DEV_XID_ERRORS", gpu, _constant(0.0))
        there = {"node": node, "resource": "nvidia_com_gpu", "unit": "integer"}
        yield Made("kube_node_status_allocatable", there, _constant(1.0))
        yield Made("kube_node_created", {"node": node}, _constant(-7200.0 * number))


def _constant(value: float) -> Shape:
    return lambda t: value


# values of these are times
TIMES = (
    "kube_pod_created",
    "kube_pod_status_scheduled_time",
    "kube_pod_status_ready_time",
    "kube_node_created",
)


def openmetrics(end: float) -> str:
    """The series as text that `promtool tsdb create-blocks-from openmetrics` reads; the last sample is at `end`."""
    begin = end - SECONDS
    lines = []
    for made in series():
        inner = ",".join(f'{key}="{value}"' for key, value in made.labels.items())
        for offset in range(0, SECONDS + 1, STEP):
            value = made.shape(float(offset))
            if value is not None:
                shown = value + begin if made.name in TIMES else value
                lines.append(f"{made.name}{{{inner}}} {shown!r} {begin + offset!r}")
    return "\n".join([*lines, "# EOF\n"])

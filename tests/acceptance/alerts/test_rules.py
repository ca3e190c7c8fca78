"""Each alert fires where it must and stays silent where nothing is wrong, by promtool of Debian's package prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasks.alerts.rules import documents
from tests.support.builders import a_model, an_environment
from tests.support.prometheus import Series, firing

pytestmark = pytest.mark.long

START = 600.0
MODEL = a_model(
    objectives={
        "ttft": {"p95": "500ms"},
        "tpot": {"p95": "50ms"},
        "itl": {"p95": "50ms"},
        "e2e": {"p95": "2s"},
        "errors": 0.02,
    },
    scaling={"idle_after": "10m"},
)
RULES = {
    document["metadata"]["name"]: document["spec"] for document in documents(MODEL, an_environment(), START)
}
NAMESPACE = {"namespace": "llm"}
POD = {**NAMESPACE, "pod": "vllm-llama-7d9c5b6f4-x2x4z"}
ENGINE = {**POD, "model_name": "llama", "engine": "0"}
OTHER = {**NAMESPACE, "pod": "vllm-llama-large-7d9c5b6f4-x2x4z", "model_name": "llama-large", "engine": "0"}
DEPLOYMENT = {**NAMESPACE, "deployment": "vllm-llama"}
GATEWAY = {**NAMESPACE, "deployment": "llm-gateway"}
CONTAINER = {**POD, "container": "vllm"}
CLAIM = {**NAMESPACE, "persistentvolumeclaim": "model-cache-llama"}


def latencies(
    histogram: str, within: int, slower: int, bound: str, labels: dict[str, str] | None = None
) -> list[Series]:
    """Requests of each half minute: so many within the bound of a bucket, and so many above it."""
    labels = labels or ENGINE
    both = f"0+{within + slower}x80"
    return [
        Series(f"{histogram}_bucket", {**labels, "le": bound}, f"0+{within}x80"),
        Series(f"{histogram}_bucket", {**labels, "le": "10.0"}, both),
        Series(f"{histogram}_bucket", {**labels, "le": "+Inf"}, both),
        Series(f"{histogram}_count", labels, both),
    ]


def gateway(model: str, **codes: int) -> list[Series]:
    """Requests of each half minute by status: `c200=10`."""
    return [
        Series(
            "slipway_gateway_requests_total",
            {**NAMESPACE, "model": model, "key": "team", "code": code[1:]},
            f"0+{each}x80",
        )
        for code, each in codes.items()
    ]


def steady(name: str, labels: dict[str, str], value: float) -> Series:
    return Series(name, labels, f"{value:g}x80")


def replicas(wanted: int, available: int) -> list[Series]:
    return [
        steady("kube_deployment_spec_replicas", DEPLOYMENT, wanted),
        steady("kube_deployment_status_replicas_available", DEPLOYMENT, available),
        steady("kube_deployment_status_replicas_unavailable", DEPLOYMENT, wanted - available),
    ]


class Case(NamedTuple):
    """What is seen, and whether the alert fires after 30 minutes of it."""

    alert: str
    why: str
    series: list[Series]
    fires: bool
    minutes: int = 30


TTFT, E2E = "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"
TPOT, ITL = "vllm:request_time_per_output_token_seconds", "vllm:inter_token_latency_seconds"
RESTARTS = "kube_pod_container_status_restarts_total"
KILLED = "kube_pod_container_status_last_terminated_reason"
ONCE = "0x50 1x30"

CASES = [
    Case("SlipwayFirstTokenSlow", "one in ten is slow", latencies(TTFT, 18, 2, "0.5"), True),
    Case("SlipwayFirstTokenSlow", "one in fifty is slow", latencies(TTFT, 49, 1, "0.5"), False),
    Case("SlipwayFirstTokenSlow", "all are slow, three an hour", [Series(one.name, one.labels, "0x40 1x40") for one in latencies(TTFT, 0, 1, "0.5")[1:]], False),
    Case("SlipwayFirstTokenSlow", "another model is slow", latencies(TTFT, 0, 20, "0.5", OTHER), False),
    Case("SlipwayFirstTokenSlow", "no metrics", [], False),
    Case("SlipwayOutputTokensSlow", "all are slow", latencies(TPOT, 0, 20, "0.05"), True),
    Case("SlipwayOutputTokensSlow", "none is slow", latencies(TPOT, 20, 0, "0.05"), False),
    Case("SlipwayTokenGapsLong", "all are slow", latencies(ITL, 0, 20, "0.05"), True),
    Case("SlipwayTokenGapsLong", "none is slow", latencies(ITL, 20, 0, "0.05"), False),
    Case("SlipwayAnswersSlow", "all are slow", latencies(E2E, 0, 20, "2.0"), True),
    Case("SlipwayAnswersSlow", "none is slow", latencies(E2E, 20, 0, "2.0"), False),
    Case("SlipwayRequestsFail", "one in ten ends with 502", gateway("llama", c200=18, c502=2), True),
    Case("SlipwayRequestsFail", "one in a hundred does", gateway("llama", c200=99, c502=1), False),
    Case("SlipwayRequestsFail", "clients ask for what is not there", gateway("llama", c200=10, c404=10), False),
    Case("SlipwayRequestsFail", "another model fails", gateway("llama-large", c502=20), False),
    Case("SlipwayQueueStands", "five wait all the time", [steady("vllm:num_requests_waiting", ENGINE, 5)], True),
    Case("SlipwayQueueStands", "five wait now and then", [Series("vllm:num_requests_waiting", ENGINE, "5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0 5x5 0")], False),
    Case("SlipwayEndpointDown", "none of two is ready", replicas(2, 0), True),
    Case("SlipwayEndpointDown", "it sleeps", replicas(0, 0), False),
    Case("SlipwayEndpointDown", "one of two is ready", replicas(2, 1), False),
    Case("SlipwayEndpointDown", "it starts, within its time", replicas(2, 0), False, 9),
    Case("SlipwayReplicasMissing", "one of two is ready", replicas(2, 1), True),
    Case("SlipwayReplicasMissing", "both are ready", replicas(2, 2), False),
    Case("SlipwayReplicasMissing", "none is ready: that is another alert", replicas(2, 0), False),
    Case("SlipwayOutOfMemory", "killed for memory, and started again", [Series(RESTARTS, CONTAINER, ONCE), Series(KILLED, {**CONTAINER, "reason": "OOMKilled"}, "_x50 1x30")], True),
    Case("SlipwayOutOfMemory", "it ended by itself", [Series(RESTARTS, CONTAINER, ONCE), Series(KILLED, {**CONTAINER, "reason": "Error"}, "_x50 1x30")], False),
    Case("SlipwayOutOfMemory", "killed for memory an hour ago", [steady(RESTARTS, CONTAINER, 1), steady(KILLED, {**CONTAINER, "reason": "OOMKilled"}, 1)], False),
    Case("SlipwayRestarts", "three times in half an hour", [Series(RESTARTS, CONTAINER, "0x20 1x10 2x10 3x20")], True),
    Case("SlipwayRestarts", "once", [Series(RESTARTS, CONTAINER, ONCE)], False),
    Case("SlipwayMetricsMissing", "ready, and not scraped", replicas(1, 1), True),
    Case("SlipwayMetricsMissing", "the scrape fails", [*replicas(1, 1), steady("up", POD, 0)], True),
    Case("SlipwayMetricsMissing", "scraped", [*replicas(1, 1), steady("up", POD, 1)], False),
    Case("SlipwayMetricsMissing", "it sleeps", replicas(0, 0), False),
    Case("SlipwayKvCacheFull", "full", [steady("vllm:kv_cache_usage_perc", ENGINE, 0.99)], True),
    Case("SlipwayKvCacheFull", "half full", [steady("vllm:kv_cache_usage_perc", ENGINE, 0.5)], False),
    Case("SlipwayIdleGpus", "no request in an hour", [*replicas(1, 1), steady("vllm:prompt_tokens_total", ENGINE, 700), steady("vllm:num_requests_running", ENGINE, 0)], True, 39),
    Case("SlipwayIdleGpus", "a request a minute", [*replicas(1, 1), Series("vllm:prompt_tokens_total", ENGINE, "0+50x80"), steady("vllm:num_requests_running", ENGINE, 0)], False, 39),
    Case("SlipwayIdleGpus", "one request takes an hour", [*replicas(1, 1), steady("vllm:prompt_tokens_total", ENGINE, 700), steady("vllm:num_requests_running", ENGINE, 1)], False, 39),
    Case("SlipwayIdleGpus", "it sleeps", [*replicas(0, 0), steady("vllm:prompt_tokens_total", ENGINE, 700), steady("vllm:num_requests_running", ENGINE, 0)], False, 39),
    Case("SlipwayVolumeFull", "one percent is free", [steady("kubelet_volume_stats_available_bytes", CLAIM, 1), steady("kubelet_volume_stats_capacity_bytes", CLAIM, 100)], True),
    Case("SlipwayVolumeFull", "a tenth is free", [steady("kubelet_volume_stats_available_bytes", CLAIM, 10), steady("kubelet_volume_stats_capacity_bytes", CLAIM, 100)], False),
    Case("SlipwayGatewayDown", "no pod is ready", [steady("kube_deployment_status_replicas_available", GATEWAY, 0)], True),
    Case("SlipwayGatewayDown", "one is", [steady("kube_deployment_status_replicas_available", GATEWAY, 1)], False),
    Case("SlipwayGatewayUncounted", "some find no room", [Series("slipway_gateway_uncounted_total", {**NAMESPACE, "pod": "llm-gateway-1"}, "0+1x80")], True),
    Case("SlipwayGatewayUncounted", "all find room", [steady("slipway_gateway_uncounted_total", {**NAMESPACE, "pod": "llm-gateway-1"}, 0)], False),
]  # fmt: skip


def spec_of(alert: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (
        spec for spec in RULES.values() for rule in spec["groups"][0]["rules"] if rule["alert"] == alert
    )
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.why}")
def test_an_alert_fires_where_it_must_and_nowhere_else(case: Case, tmp_path: Path) -> None:
    assert firing(spec_of(case.alert), case.series, case.minutes, case.alert, tmp_path) is case.fires


def test_every_alert_is_seen_to_fire_and_to_stay_silent() -> None:
    alerts = {rule["alert"] for spec in RULES.values() for rule in spec["groups"][0]["rules"]}
    for fires in (True, False):
        assert {case.alert for case in CASES if case.fires is fires} == alerts

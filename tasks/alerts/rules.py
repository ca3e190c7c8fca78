"""A model's alerting rules for Prometheus, from its own objectives. Pure.

Metrics: vLLM 0.32.0 (vllm/v1/metrics/loggers.py), k8s/gateway/metrics.js, kube-state-metrics (docs/metrics/workload), the
kubelet (kubelet_volume_stats_*) and dcgm-exporter. Fields of a PrometheusRule: prometheus-operator v0.93.0,
Documentation/api-reference/api.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.objectives import LatencyName
from tasks.records.quantities import human_seconds, write_duration

Document = dict[str, Any]
Severity = Literal["critical", "warning"]

API, KIND = "monitoring.coreos.com/v1", "PrometheusRule"

# latencies of the objectives, as vLLM's histograms call them
HISTOGRAMS: dict[LatencyName, str] = {
    "ttft": "vllm:time_to_first_token_seconds",
    "tpot": "vllm:request_time_per_output_token_seconds",
    "itl": "vllm:inter_token_latency_seconds",
    "e2e": "vllm:e2e_request_latency_seconds",
}
LATENCY_NAMES: dict[LatencyName, str] = {
    "ttft": "FirstTokenSlow",
    "tpot": "OutputTokensSlow",
    "itl": "TokenGapsLong",
    "e2e": "AnswersSlow",
}
# requests beyond the percentile, on average, that the window must have before the percentile means anything
BEYOND = 5
# times the patience: what may be a matter of a burst
STANDS = 5
MINIMUM_REQUESTS = 20
# of the model's volume: below it a new revision is likely not to fit
FREE_SHARE = 0.03
# longer than the idle flow's schedule: a model that is still up then is one that it does not see
IDLE_MARGIN_SECONDS = 1800
# some scrapes, whatever the model's file says
MINIMUM_IDLE_SECONDS = 300


@dataclass(frozen=True)
class Rule:
    """One alert: when its expression has a value for `holds` seconds. `cause` and `next_command` are what a person reads."""

    name: str
    expression: str
    holds: float
    severity: Severity
    cause: str
    next_command: str

    def document(self, labels: dict[str, str]) -> Document:
        """As Prometheus reads it. Templates in `cause` are Prometheus' own."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": f"{math.ceil(self.holds)}s",
            "labels": {"severity": self.severity, **labels},
            "annotations": {"summary": self.cause, "next_command": self.next_command},
        }


@dataclass(frozen=True)
class Watched:
    """One model as metrics name it. `start`: seconds a replica may take until it is ready."""

    model: Model
    environment: Environment
    start: float

    @property
    def window(self) -> int:
        """Seconds that rates look back."""
        return math.ceil(self.environment.alerts.window)

    @property
    def engine(self) -> str:
        """Labels of vLLM's own metrics."""
        return f'namespace="{self.environment.namespace}",model_name="{self.model.name}"'

    @property
    def gateway(self) -> str:
        """Labels of the gateway's metrics."""
        return f'namespace="{self.environment.namespace}",model="{self.model.name}"'

    @property
    def deployment(self) -> str:
        """Labels of kube-state-metrics about the Deployment."""
        return f'namespace="{self.environment.namespace}",deployment="{names.workload(self.model)}"'

    @property
    def pods(self) -> str:
        """Labels of kube-state-metrics and the scrape about the pods: NAME-HASH-ID, and blue-green's green-NAME-HASH-ID."""
        return (
            f'namespace="{self.environment.namespace}",'
            f'pod=~"(green-)?{names.workload(self.model)}-[a-z0-9]+-[a-z0-9]+"'
        )

    @property
    def awake(self) -> str:
        """Has a value where the model is meant to have replicas: a model asleep is not down."""
        return f"max(kube_deployment_spec_replicas{{{self.deployment}}}) > 0"

    def kubectl(self, words: str) -> str:
        return f"kubectl -n {self.environment.namespace} {words}"

    def slipway(self, command: str) -> str:
        return f"slipway {command} -e {self.environment.name}"


def rules_of(model: Model, environment: Environment, start: float) -> list[Rule]:
    """Every rule of one model. `start`: seconds a replica may take until it is ready."""
    watched = Watched(model, environment, start)
    return [*_latencies(watched), *_requests(watched), *_replicas(watched), *_capacity(watched)]


def _latencies(watched: Watched) -> Iterator[Rule]:
    """One for each bound on a percentile, where the window has enough requests."""
    window, holds = watched.window, watched.environment.alerts.patience
    for latency, percentile, bound in watched.model.objectives.latencies():
        histogram, quantile = HISTOGRAMS[latency], int(percentile[1:]) / 100
        enough = max(MINIMUM_REQUESTS, math.ceil(BEYOND / (1 - quantile)))
        rate = f"rate({histogram}_bucket{{{watched.engine}}}[{window}s])"
        yield Rule(
            f"Slipway{LATENCY_NAMES[latency]}",
            f"histogram_quantile({quantile:g}, sum by (le) ({rate})) > {bound:g}"
            f" and on() sum(increase({histogram}_count{{{watched.engine}}}[{window}s])) >= {enough}",
            holds,
            "warning",
            f"{watched.model.name}: {latency} {percentile} is {{{{ $value | humanizeDuration }}}}, its objective is "
            f"{write_duration(bound)}",
            watched.slipway(f"validate {watched.model.name}"),
        )


def _requests(watched: Watched) -> Iterator[Rule]:
    """Failures as clients see them, and a queue that does not end."""
    window, patience = watched.window, watched.environment.alerts.patience
    of_all = f"sum(increase(slipway_gateway_requests_total{{{watched.gateway}}}[{window}s]))"
    failed = f'sum(increase(slipway_gateway_requests_total{{{watched.gateway},code=~"5.."}}[{window}s]))'
    allowed = watched.model.objectives.errors
    yield Rule(
        "SlipwayRequestsFail",
        f"{failed} / {of_all} > {allowed:g} and on() {of_all} >= {MINIMUM_REQUESTS}",
        patience,
        "critical",
        f"{watched.model.name}: {{{{ $value | humanizePercentage }}}} of its requests failed at the gateway with a status of "
        f"500 or above, its objective is {allowed:.2%}",
        watched.kubectl(f"logs -l {names.serving_selector(watched.model)} --tail=100"),
    )
    yield Rule(
        "SlipwayQueueStands",
        f"sum(vllm:num_requests_waiting{{{watched.engine}}}) > 0",
        STANDS * patience,
        "warning",
        f"{watched.model.name}: requests have waited in vLLM's queue for {human_seconds(STANDS * patience)}, now {{{{ $value }}}}: it has as many "
        f"replicas as scaling.max_replicas ({watched.model.scaling.max_replicas}) allows, or no node comes for another",
        watched.slipway("status"),
    )


def _replicas(watched: Watched) -> Iterator[Rule]:
    """Pods that are not there, end again and again, or are not seen by Prometheus."""
    model, deployment = watched.model.name, names.workload(watched.model)
    yield Rule(
        "SlipwayEndpointDown",
        f"max(kube_deployment_status_replicas_available{{{watched.deployment}}}) == 0 and on() {watched.awake}",
        watched.start,
        "critical",
        f"{model}: no replica is ready, for longer than a start may take ({_minutes(watched.start)})",
        watched.kubectl(f"describe deployment,pod -l {names.serving_selector(watched.model)}"),
    )
    yield Rule(
        "SlipwayReplicasMissing",
        f"max(kube_deployment_status_replicas_unavailable{{{watched.deployment}}}) > 0"
        f" and on() max(kube_deployment_status_replicas_available{{{watched.deployment}}}) > 0",
        watched.start,
        "warning",
        f"{model}: {{{{ $value }}}} of its replicas are not ready, for longer than a start may take ({_minutes(watched.start)})",
        watched.kubectl(f"describe pod -l {names.serving_selector(watched.model)}"),
    )
    restarts = f'kube_pod_container_status_restarts_total{{{watched.pods},container="{names.VLLM}"}}'
    killed = (
        f"kube_pod_container_status_last_terminated_reason"
        f'{{{watched.pods},container="{names.VLLM}",reason="OOMKilled"}}'
    )
    yield Rule(
        "SlipwayOutOfMemory",
        f"sum(increase({restarts}[600s]) and on(pod) {killed} == 1) > 0",
        0,
        "critical",
        f"{model}: vLLM was killed for the memory of its host: resources.memory ({watched.model.resources.memory}) is too small",
        watched.kubectl(f"describe pod -l {names.serving_selector(watched.model)}"),
    )
    yield Rule(
        "SlipwayRestarts",
        f"sum(increase({restarts}[1800s])) >= 2",
        0,
        "warning",
        f"{model}: vLLM ended {{{{ $value | humanize }}}} times within half an hour",
        watched.kubectl(f"logs deployment/{deployment} --previous --tail=200"),
    )
    yield Rule(
        "SlipwayMetricsMissing",
        f"max(kube_deployment_status_replicas_available{{{watched.deployment}}}) > 0"
        f" unless on() count(up{{{watched.pods}}} == 1) > 0",
        STANDS * watched.environment.alerts.patience,
        "warning",
        f"{model}: Prometheus gets no metrics of its pods: it does not scale with its load, and is not put to sleep",
        watched.kubectl("get podmonitor,networkpolicy"),
    )


def _capacity(watched: Watched) -> Iterator[Rule]:
    """A KV cache that is full, GPUs that nobody uses, a volume without room."""
    model = watched.model
    if model.engine.task == "generate":
        yield Rule(
            "SlipwayKvCacheFull",
            f"min(vllm:kv_cache_usage_perc{{{watched.engine}}}) > 0.95",
            STANDS * watched.environment.alerts.patience,
            "warning",
            f"{model.name}: {{{{ $value | humanizePercentage }}}} of the KV cache is in use all the time: requests wait for "
            "it, or are computed again",
            watched.slipway(f"preflight {model.name} --explain"),
        )
    window = max(math.ceil(model.scaling.idle_after), MINIMUM_IDLE_SECONDS)
    yield Rule(
        "SlipwayIdleGpus",
        f"sum(increase(vllm:prompt_tokens_total{{{watched.engine}}}[{window}s])) == 0"
        f" and on() sum(vllm:num_requests_running{{{watched.engine}}}) == 0"
        f" and on() {watched.awake}",
        IDLE_MARGIN_SECONDS,
        "warning",
        f"{model.name}: nobody asked it for longer than scaling.idle_after, and its GPUs are still paid for: the flow "
        "slipway-idle has not taken them",
        watched.slipway("idle"),
    )
    volume = f'namespace="{watched.environment.namespace}",persistentvolumeclaim="{names.cache_claim(model)}"'
    yield Rule(
        "SlipwayVolumeFull",
        f"min(kubelet_volume_stats_available_bytes{{{volume}}} / kubelet_volume_stats_capacity_bytes{{{volume}}})"
        f" < {FREE_SHARE:g}",
        900,
        "warning",
        f"{model.name}: {{{{ $value | humanizePercentage }}}} of its volume is free: another revision may not fit",
        watched.kubectl(f"describe pvc {names.cache_claim(model)}"),
    )


def _minutes(seconds: float) -> str:
    return f"{math.ceil(seconds / 60)} min"


def gateway_rules(environment: Environment) -> list[Rule]:
    """Rules of the gateway, which all models share."""
    labels = f'namespace="{environment.namespace}",deployment="{names.GATEWAY}"'
    return [
        Rule(
            "SlipwayGatewayDown",
            f"max(kube_deployment_status_replicas_available{{{labels}}}) == 0",
            60,
            "critical",
            f"the gateway of {environment.name} has no pod that is ready: no model can be asked",
            f"kubectl -n {environment.namespace} describe deployment,pod -l app={names.GATEWAY}",
        ),
        Rule(
            "SlipwayGatewayUncounted",
            f'sum(increase(slipway_gateway_uncounted_total{{namespace="{environment.namespace}"}}[600s])) > 0',
            0,
            "warning",
            f"the gateway of {environment.name} has no room for more counters: its metrics miss requests",
            f"kubectl -n {environment.namespace} rollout restart deployment {names.GATEWAY}",
        ),
    ]


def document_of(
    name: str, rules: Sequence[Rule], environment: Environment, model: str | None = None
) -> Document:
    """The PrometheusRule of one model, or of the gateway."""
    labels = {"environment": environment.name} | ({"model": model} if model else {})
    return {
        "apiVersion": API,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": environment.namespace,
            "labels": dict(environment.prometheus.rule_labels or environment.prometheus.monitor_labels),
        },
        "spec": {"groups": [{"name": name, "rules": [rule.document(labels) for rule in rules]}]},
    }


def documents(model: Model, environment: Environment, start: float) -> list[Document]:
    """What watches a model: its own rules and the gateway's."""
    mine = document_of(names.workload(model), rules_of(model, environment, start), environment, model.name)
    return [mine, document_of(names.GATEWAY, gateway_rules(environment), environment)]

"""The dashboards: what is shown of fleet, model, GPUs, cold starts and load validations.

Metrics: vLLM 0.32.0 (vllm/v1/metrics/loggers.py), k8s/gateway/metrics.js, kube-state-metrics
(docs/metrics/workload/pod-metrics.md, deployment-metrics.md, cluster/node-metrics.md), dcgm-exporter 4.8.3
(etc/default-counters.csv) and the kubelet. Names of pods and Deployments: tasks/records/names.py.
"""

from __future__ import annotations

from tasks.records.keys import OWN
from tools.dashboards.grafana import Dashboard, Panel, Query, Variable

NAMESPACE = Variable("namespace", "kube_deployment_spec_replicas", "namespace", several=False)
MODEL = Variable("model", "vllm:num_requests_running", "model_name")
IN = 'namespace="$namespace"'
ENGINE = f'{IN},model_name=~"$model"'
GATE = f'{IN},model=~"$model"'
DEPLOYMENTS = f'{IN},deployment=~"vllm-.+"'
PODS = f'{IN},pod=~"(green-)?vllm-.+"'
WINDOW = "[5m]"


def quantiles(histogram: str, labels: str, by: str = "") -> tuple[Query, ...]:
    """p50, p95 and p99 of a histogram."""
    groups = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({groups}) (rate({histogram}_bucket{{{labels}}}{WINDOW})))",
            f"p{q * 100:g}{legend}",
        )
        for q in (0.5, 0.95, 0.99)
    )


FLEET = Dashboard(
    "fleet",
    "Fleet",
    (NAMESPACE,),
    (
        Panel(
            "Requests a minute",
            (
                Query(
                    f"sum by (model) (rate(slipway_gateway_requests_total{{{IN}}}{WINDOW})) * 60", "{{model}}"
                ),
            ),
            "reqpm",
            "Requests that ended at the gateway, any status.",
            stacked=True,
        ),
        Panel(
            "Requests that failed",
            (
                Query(
                    f'sum by (model) (rate(slipway_gateway_requests_total{{{IN},code=~"5.."}}{WINDOW}))'
                    f" / sum by (model) (rate(slipway_gateway_requests_total{{{IN}}}{WINDOW}))",
                    "{{model}}",
                ),
            ),
            "percentunit",
            "Share with a status of 500 or above; the alert SlipwayRequestsFail bounds it by objectives.errors.",
        ),
        Panel(
            "Output tokens a second",
            (
                Query(
                    f"sum by (model_name) (rate(vllm:generation_tokens_total{{{IN}}}{WINDOW}))",
                    "{{model_name}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Replicas",
            (
                Query(
                    f"max by (deployment) (kube_deployment_status_replicas_available{{{DEPLOYMENTS}}})",
                    "{{deployment}} ready",
                ),
                Query(
                    f"max by (deployment) (kube_deployment_spec_replicas{{{DEPLOYMENTS}}})",
                    "{{deployment}} wanted",
                ),
            ),
            about="0 wanted: the model sleeps.",
        ),
        Panel(
            "GPUs",
            (
                Query('sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})', "there"),
                Query(
                    f'sum(kube_pod_container_resource_requests{{{PODS},resource="nvidia_com_gpu"}})',
                    "held by models",
                ),
            ),
            about="What is there and held by no model is paid for all the same.",
        ),
        Panel(
            "Alerts that fire",
            (
                Query(
                    'count by (alertname, model) (ALERTS{alertstate="firing",alertname=~"Slipway.+"})',
                    "{{alertname}} {{model}}",
                ),
            ),
            about="docs/alerts.md says what each means.",
        ),
        Panel(
            "Requests that wait",
            (Query(f"sum by (model_name) (vllm:num_requests_waiting{{{IN}}})", "{{model_name}}"),),
            about="In vLLM's queues.",
        ),
        Panel(
            "First token, p95",
            (
                Query(
                    f"histogram_quantile(0.95, sum by (le, model_name) (rate(vllm:time_to_first_token_seconds_bucket{{{IN}}}{WINDOW})))",
                    "{{model_name}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Restarts of vLLM in an hour",
            (
                Query(
                    f'sum by (pod) (increase(kube_pod_container_status_restarts_total{{{PODS},container="vllm"}}[1h]))',
                    "{{pod}}",
                ),
            ),
        ),
    ),
)

ONE_MODEL = Dashboard(
    "model",
    "Model",
    (NAMESPACE, MODEL),
    (
        Panel("First token", quantiles("vllm:time_to_first_token_seconds", ENGINE), "s"),
        Panel("Time per output token", quantiles("vllm:request_time_per_output_token_seconds", ENGINE), "s"),
        Panel("End to end", quantiles("vllm:e2e_request_latency_seconds", ENGINE), "s"),
        Panel("Time in the queue", quantiles("vllm:request_queue_time_seconds", ENGINE), "s"),
        Panel(
            "Requests under way",
            (
                Query(f"sum by (pod) (vllm:num_requests_running{{{ENGINE}}})", "{{pod}} runs"),
                Query(f"sum by (pod) (vllm:num_requests_waiting{{{ENGINE}}})", "{{pod}} waits"),
            ),
            about="The scaler adds a replica by their sum.",
        ),
        Panel(
            "KV cache in use",
            (Query(f"max by (pod) (vllm:kv_cache_usage_perc{{{ENGINE}}})", "{{pod}}"),),
            "percentunit",
            "Full all the time: requests wait for it, or are computed again (preemptions).",
        ),
        Panel(
            "Tokens a second",
            (
                Query(f"sum(rate(vllm:prompt_tokens_total{{{ENGINE}}}{WINDOW}))", "read"),
                Query(f"sum(rate(vllm:generation_tokens_total{{{ENGINE}}}{WINDOW}))", "written"),
            ),
        ),
        Panel(
            "Prefix cache hits",
            (
                Query(
                    f"sum(rate(vllm:prefix_cache_hits_total{{{ENGINE}}}{WINDOW}))"
                    f" / sum(rate(vllm:prefix_cache_queries_total{{{ENGINE}}}{WINDOW}))",
                    "of queried tokens",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Preemptions a second",
            (Query(f"sum by (pod) (rate(vllm:num_preemptions_total{{{ENGINE}}}{WINDOW}))", "{{pod}}"),),
        ),
        Panel(
            "Answers by status",
            (
                Query(
                    f"sum by (code) (rate(slipway_gateway_requests_total{{{GATE}}}{WINDOW})) * 60", "{{code}}"
                ),
            ),
            "reqpm",
            stacked=True,
        ),
        Panel(
            "Requests by key",
            (
                Query(
                    f"sum by (key) (rate(slipway_gateway_requests_total{{{GATE}}}{WINDOW})) * 60", "{{key}}"
                ),
            ),
            "reqpm",
            stacked=True,
        ),
        Panel("At the gateway, to the last byte", quantiles("slipway_gateway_request_seconds", GATE), "s"),
    ),
)

GPU_LABELS = "{{Hostname}} {{gpu}}"
GPUS = Dashboard(
    "gpu",
    "GPUs",
    (),
    (
        Panel(
            "Utilisation",
            (Query("DCGM_FI_DEV_GPU_UTIL", GPU_LABELS),),
            "percent",
            "Of the time in which a kernel ran.",
        ),
        Panel(
            "Memory in use",
            (Query("DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)", GPU_LABELS),),
            "percentunit",
            "vLLM takes engine.gpu_memory_utilization of it at its start.",
        ),
        Panel("Memory free", (Query("DCGM_FI_DEV_FB_FREE", GPU_LABELS),), "mbytes"),
        Panel(
            "GPUs that nobody uses",
            (Query("count(max_over_time(DCGM_FI_DEV_GPU_UTIL[30m]) == 0) or vector(0)", "idle for 30 min"),),
            about="Paid for: slipway status says what idleness cost.",
            kind="stat",
        ),
        Panel("Power", (Query("DCGM_FI_DEV_POWER_USAGE", GPU_LABELS),), "watt"),
        Panel("Temperature", (Query("DCGM_FI_DEV_GPU_TEMP", GPU_LABELS),), "celsius"),
        Panel(
            "Last XID error",
            (Query("DCGM_FI_DEV_XID_ERRORS", GPU_LABELS),),
            about="0: none. The numbers: NVIDIA's XID errors.",
        ),
    ),
)

START = f"kube_pod_status_ready_time{{{PODS}}} - kube_pod_created{{{PODS}}}"
COLD_STARTS = Dashboard(
    "cold-starts",
    "Cold starts",
    (NAMESPACE,),
    (
        Panel(
            "From pod to ready",
            (Query(START, "{{pod}}"),),
            "s",
            "The phases of each start: slipway status, and the run's log.",
        ),
        Panel(
            "Until a node was there",
            (Query(f"kube_pod_status_scheduled_time{{{PODS}}} - kube_pod_created{{{PODS}}}", "{{pod}}"),),
            "s",
        ),
        Panel(
            "Image, volume, weights, compilation",
            (
                Query(
                    f"kube_pod_status_ready_time{{{PODS}}} - kube_pod_status_scheduled_time{{{PODS}}}",
                    "{{pod}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Replicas that start",
            (
                Query(
                    f"max by (deployment) (kube_deployment_spec_replicas{{{DEPLOYMENTS}}}"
                    f" - kube_deployment_status_replicas_available{{{DEPLOYMENTS}}})",
                    "{{deployment}}",
                ),
            ),
        ),
        Panel(
            "Age of GPU nodes",
            (
                Query(
                    'time() - (kube_node_created and on(node) kube_node_status_allocatable{resource="nvidia_com_gpu"} > 0)',
                    "{{node}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Pods without a node",
            (Query(f'sum(kube_pod_status_phase{{{PODS},phase="Pending"}})', "pending"),),
            about="Longer than a node takes: slipway status says why none comes.",
        ),
    ),
)

LOAD = f'{GATE},key="{OWN}"'
LOAD_REPORTS = Dashboard(
    "load-reports",
    "Load validations",
    (NAMESPACE, MODEL),
    (
        Panel(
            "Requests of gate and load",
            (
                Query(
                    f"sum by (model) (rate(slipway_gateway_requests_total{{{LOAD}}}[1m]))",
                    "{{model}} a second",
                ),
            ),
            about="By the key that readiness gate and load validation ask with; each hill is a validation, a sweep or a drill.",
        ),
        Panel(
            "Those that failed",
            (
                Query(
                    f'sum by (model, code) (increase(slipway_gateway_requests_total{{{LOAD},code!="200"}}[1m]))',
                    "{{model}} {{code}}",
                ),
            ),
        ),
        Panel(
            "Others meanwhile",
            (
                Query(
                    f'sum by (model) (rate(slipway_gateway_requests_total{{{GATE},key!="{OWN}"}}[1m]))',
                    "{{model}} a second",
                ),
            ),
            about="A validation beside traffic measures both.",
        ),
        Panel(
            "First token, by the engine",
            quantiles("vllm:time_to_first_token_seconds", ENGINE, "model_name"),
            "s",
        ),
        Panel(
            "Time per output token, by the engine",
            quantiles("vllm:request_time_per_output_token_seconds", ENGINE, "model_name"),
            "s",
        ),
        Panel(
            "First byte, at the gateway", quantiles("slipway_gateway_first_byte_seconds", GATE, "model"), "s"
        ),
    ),
)

DASHBOARDS = (FLEET, ONE_MODEL, GPUS, COLD_STARTS, LOAD_REPORTS)

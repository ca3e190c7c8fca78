"""Read what the idle decision needs: the serving pods, and raw samples of their metrics."""

from __future__ import annotations

from collections.abc import Callable

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prometheus import Prometheus, TimeSeries
from tasks.idle.decide import PROMPTS, REQUESTS, RUNNING, UTILIZATION, WAITING, Signals
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.model import Model


def serving_pods(cluster: Cluster, model: Model, environment: Environment) -> list[str]:
    """Names of the pods whose metrics count: those that have ended or are terminating report nothing."""
    pods = cluster.list("v1", "Pod", environment.namespace, label_selector=names.serving_selector(model))
    return [objects.name(pod) for pod in objects.staying(pods)]


def observe(
    cluster: Cluster, prometheus: Prometheus, model: Model, environment: Environment, now: Callable[[], float]
) -> Signals:
    """Raw samples of the last window. Raises MetricsUnavailable: no answer is not an idle answer."""
    # samples from before the window too: what a counter had when it began
    window = model.scaling.idle_after + 4 * environment.scrape_interval
    namespace = environment.namespace
    selectors = {
        metric: f'{metric}{{namespace="{namespace}",model_name="{model.name}"}}'
        for metric in (REQUESTS, PROMPTS, RUNNING, WAITING)
    }
    pods = tuple(sorted(serving_pods(cluster, model, environment)))
    series: dict[str, list[TimeSeries]] = {
        metric: prometheus.series(selector, window) for metric, selector in selectors.items()
    }
    series[UTILIZATION] = _utilization(prometheus, namespace, window)
    return Signals(series=series, pods=pods, read_at=now(), scrape_interval=environment.scrape_interval)


def _utilization(prometheus: Prometheus, namespace: str, window: float) -> list[TimeSeries]:
    """DCGM's labels depend on honorLabels in its ServiceMonitor: the pod may be `exported_pod`."""
    found = prometheus.series(f'{UTILIZATION}{{exported_namespace="{namespace}"}}', window)
    return found or prometheus.series(f'{UTILIZATION}{{namespace="{namespace}"}}', window)

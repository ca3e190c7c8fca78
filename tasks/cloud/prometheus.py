"""Query Prometheus for raw samples. https://prometheus.io/docs/prometheus/latest/querying/api/"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, MetricsUnavailable


@dataclass(frozen=True)
class TimeSeries:
    """Labels, and samples as (seconds since the epoch, value), oldest first."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


def increase(series: TimeSeries) -> float:
    """How much a counter rose over its samples; after a restart it counts from zero."""
    values = [value for _, value in series.samples]
    return sum(
        later - earlier if later >= earlier else later for earlier, later in itertools.pairwise(values)
    )


class Prometheus:
    """Query through `get(path, params) -> JSON`; `where` names the server in errors."""

    def __init__(
        self, get: Callable[[str, Mapping[str, str]], Any], where: str, namespace: str = "monitoring"
    ) -> None:
        self._get = get
        self.where = where
        self._namespace = namespace

    def series(self, selector: str, window_seconds: float) -> list[TimeSeries]:
        """Raw samples of the last `window_seconds`, as `selector[window]`. Raises MetricsUnavailable."""
        return self._parse(self._query(f"{selector}[{max(1, round(window_seconds))}s]"), "matrix")

    def instant(self, query: str) -> list[TimeSeries]:
        """The present value of each series of an instant query. Raises MetricsUnavailable."""
        return self._parse(self._query(query), "vector")

    def _query(self, query: str) -> Any:
        try:
            answer = self._get("api/v1/query", {"query": query})
        except (ClusterError, httpx.HTTPError, ValueError) as error:
            said = (error.cause, *error.evidence) if isinstance(error, ClusterError) else (str(error),)
            raise MetricsUnavailable(
                "Prometheus does not answer",
                evidence=[self.where, query, *said],
                next_command=f"kubectl -n {self._namespace} get pods",
            ) from error
        if answer.get("status") != "success":
            raise MetricsUnavailable("Prometheus refused a query", evidence=[query, str(answer.get("error"))])
        return answer["data"]

    @staticmethod
    def _parse(data: Any, expected: str) -> list[TimeSeries]:
        if data["resultType"] != expected:
            raise MetricsUnavailable(f"Prometheus answered a {data['resultType']}, not a {expected}")
        return [
            TimeSeries(
                labels=dict(item["metric"]),
                samples=tuple((float(t), float(v)) for t, v in item.get("values") or [item["value"]]),
            )
            for item in data["result"]
        ]


def prometheus_of(environment: Environment, cluster: Cluster) -> Prometheus:
    """Reach the environment's Prometheus by its URL where one is set, else through the API server's proxy."""
    server = environment.prometheus
    if url := environment.prometheus_url or server.url:
        base = url.rstrip("/")

        def direct(path: str, params: Mapping[str, str]) -> Any:
            answer = httpx.get(f"{base}/{path}", params=dict(params), timeout=30)
            if answer.is_error:  # its own words are in the body
                raise ClusterError(f"{base} answered {answer.status_code}", evidence=[answer.text[:500]])
            return answer.json()

        return Prometheus(direct, base, server.namespace)

    def proxied(path: str, params: Mapping[str, str]) -> Any:
        return cluster.service_proxy(server.namespace, str(server.service), server.port, path, params)

    where = f"service {server.namespace}/{server.service} of {cluster.name}"
    return Prometheus(proxied, where, server.namespace)

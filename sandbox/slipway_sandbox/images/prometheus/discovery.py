"""Derive scrape targets from PodMonitors and ServiceMonitors, as the operator and Prometheus do.

The Prometheus object's selectors choose the monitors: null selects nothing, {}
selects all (https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusSpec).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.images.prometheus.promql import duration_seconds

Object = dict[str, Any]
DEFAULT_INTERVAL = "30s"


@dataclass
class Cluster:
    """The objects discovery reads, as they are now."""

    prometheus: Object | None = None
    pod_monitors: list[Object] = field(default_factory=list)
    service_monitors: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)
    slices: list[Object] = field(default_factory=list)
    namespaces: list[Object] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """One page to scrape. `interval` and `timeout` are in seconds; `labels` are added to every sample."""

    url: str
    interval: float
    timeout: float
    labels: tuple[tuple[str, str], ...]
    honor_labels: bool


def targets(cluster: Cluster, fastest: float) -> list[Target]:
    """All targets without duplicates; intervals are at least `fastest` seconds. Raises ValueError for a bad duration, or relabelling."""
    if cluster.prometheus is None:
        return []
    found: dict[Target, None] = {}
    for monitor, kind in _selected_monitors(cluster):
        endpoints = monitor["spec"].get("podMetricsEndpoints" if kind == "podMonitor" else "endpoints", [])
        if rejection(endpoints, cluster.prometheus["spec"]):
            continue
        for endpoint in endpoints:
            addresses = _pod_addresses if kind == "podMonitor" else _service_addresses
            for address, labels in addresses(cluster, monitor, endpoint):
                found[_target(endpoint, address, labels, cluster.prometheus["spec"], fastest)] = None
    return list(found)


def rejection(endpoints: Sequence[Object], spec: Object) -> str:
    """Why the operator skips a monitor with these endpoints, all of them; empty where it takes it.

    prometheus-operator v0.93.0: checkServiceMonitor and checkPodMonitor of pkg/prometheus/resource_selector.go,
    CompareScrapeTimeoutToScrapeInterval of pkg/prometheus/promcfg.go.
    """
    for index, endpoint in enumerate(endpoints):
        interval = endpoint.get("interval") or spec.get("scrapeInterval") or DEFAULT_INTERVAL
        timeout = endpoint.get("scrapeTimeout")
        if timeout and duration_seconds(timeout) > duration_seconds(interval):
            return f'endpoints[{index}]: scrapeTimeout "{timeout}" greater than scrapeInterval "{interval}"'
    return ""


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches these labels: null matches nothing, {} everything."""
    if selector is None:
        return False
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or []:
        value, values = labels.get(rule["key"]), rule.get("values") or []
        holds = {
            "In": value is not None and value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(rule["operator"], False):
            return False
    return True


def _selected_monitors(cluster: Cluster) -> Iterator[tuple[Object, str]]:
    assert cluster.prometheus is not None
    spec, home = cluster.prometheus["spec"], cluster.prometheus["metadata"]["namespace"]
    labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in cluster.namespaces}
    for kind, monitors in (
        ("podMonitor", cluster.pod_monitors),
        ("serviceMonitor", cluster.service_monitors),
    ):
        where = spec.get(f"{kind}NamespaceSelector")
        for monitor in sorted(monitors, key=_name):
            namespace = monitor["metadata"]["namespace"]
            near = namespace == home if where is None else selects(where, labels.get(namespace, {}))
            if near and selects(spec.get(f"{kind}Selector"), monitor["metadata"].get("labels") or {}):
                yield monitor, kind


def _name(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _reachable(monitor: Object, item: Object) -> bool:
    """Whether the monitor's namespace and label selectors match this object."""
    where = monitor["spec"].get("namespaceSelector") or {}
    names = where.get("matchNames") or [monitor["metadata"]["namespace"]]
    if not where.get("any") and item["metadata"]["namespace"] not in names:
        return False
    return selects(monitor["spec"].get("selector") or {}, item["metadata"].get("labels") or {})


def _pod_addresses(
    cluster: Cluster, monitor: Object, endpoint: Object
) -> Iterator[tuple[str, dict[str, str]]]:
    job_label = monitor["spec"].get("jobLabel")
    for pod in sorted(cluster.pods, key=_name):
        status = pod.get("status") or {}
        if status.get("phase") != "Running" or not status.get("podIP") or not _reachable(monitor, pod):
            continue
        for container, port in _container_ports(pod):
            if not _is_port(endpoint, port):
                continue
            labels = pod["metadata"].get("labels") or {}
            meta = {
                "namespace": pod["metadata"]["namespace"],
                "pod": pod["metadata"]["name"],
                "container": container,
                "endpoint": str(
                    endpoint.get("port") or endpoint.get("portNumber") or endpoint.get("targetPort")
                ),
                "job": labels.get(job_label, "") or "/".join(_name(monitor)),
            }
            yield (
                f"{status['podIP']}:{port['containerPort']}",
                meta | _copied(monitor, "podTargetLabels", labels),
            )


def _service_addresses(
    cluster: Cluster, monitor: Object, endpoint: Object
) -> Iterator[tuple[str, dict[str, str]]]:
    pods = {_name(pod): pod for pod in cluster.pods}
    for service in sorted(cluster.services, key=_name):
        if not _reachable(monitor, service):
            continue
        namespace, name = _name(service)
        labels = service["metadata"].get("labels") or {}
        base = {
            "namespace": namespace,
            "service": name,
            "job": labels.get(monitor["spec"].get("jobLabel"), "") or name,
            "endpoint": str(endpoint.get("port") or endpoint.get("targetPort")),
        }
        base |= _copied(monitor, "targetLabels", labels)
        for entry, port in _slice_entries(cluster.slices, namespace, name):
            reference = entry.get("targetRef") or {}
            pod = pods.get((namespace, reference.get("name", ""))) if reference.get("kind") == "Pod" else None
            if (container := _selected_container(endpoint, port, pod)) is None:
                continue
            more = _copied(monitor, "podTargetLabels", pod["metadata"].get("labels") or {}) if pod else {}
            if pod is not None:
                more |= {"pod": pod["metadata"]["name"], "container": container}
            for address in entry["addresses"]:
                yield f"{address}:{port['port']}", base | more


def _slice_entries(slices: list[Object], namespace: str, service: str) -> Iterator[tuple[Object, Object]]:
    for each in sorted(slices, key=_name):
        owner = (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
        if (each["metadata"]["namespace"], owner) == (namespace, service):
            for entry in each.get("endpoints") or []:
                for port in each.get("ports") or []:
                    yield entry, port


def _selected_container(endpoint: Object, port: Object, pod: Object | None) -> str | None:
    """The container behind a port of a slice ("" where there is none), or None where the endpoint does not select the port."""
    ports = list(_container_ports(pod)) if pod else []
    backing = next(((c, p) for c, p in ports if p["containerPort"] == port.get("port")), None)
    if endpoint.get("port") is not None:
        wanted = port.get("name", "") == endpoint["port"]
    else:
        wanted = backing is not None and _is_port(endpoint, backing[1])
    if not wanted:
        return None
    return backing[0] if backing else ""


def _container_ports(pod: Object) -> Iterator[tuple[str, Object]]:
    for container in pod["spec"].get("containers", []):
        for port in container.get("ports") or []:
            yield container["name"], port


def _is_port(endpoint: Object, port: Object) -> bool:
    if endpoint.get("port") is not None:
        return bool(port.get("name") == endpoint["port"])
    wanted = endpoint.get("portNumber", endpoint.get("targetPort"))
    return wanted is not None and str(wanted) in (str(port["containerPort"]), port.get("name"))


def _copied(monitor: Object, which: str, labels: Mapping[str, str]) -> dict[str, str]:
    names = monitor["spec"].get(which) or []
    return {_plain(name): labels[name] for name in names if labels.get(name)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _target(endpoint: Object, address: str, labels: dict[str, str], spec: Object, fastest: float) -> Target:
    for unsupported in ("relabelings", "metricRelabelings"):
        if endpoint.get(unsupported):
            raise ValueError(f"{unsupported} are not supported by this server")
    scheme = str(endpoint.get("scheme") or "http").lower()
    url = f"{scheme}://{address}{endpoint.get('path') or '/metrics'}"
    query = "&".join(f"{k}={v}" for k, values in (endpoint.get("params") or {}).items() for v in values)
    interval = duration_seconds(endpoint.get("interval") or spec.get("scrapeInterval") or DEFAULT_INTERVAL)
    timeout = duration_seconds(endpoint.get("scrapeTimeout") or spec.get("scrapeTimeout") or "10s")
    interval = max(interval, fastest)
    return Target(
        url=f"{url}?{query}" if query else url,
        interval=interval,
        timeout=min(timeout, interval) if interval >= 1 else 1.0,
        labels=tuple(sorted((k, v) for k, v in {"instance": address, **labels}.items() if v)),
        honor_labels=bool(endpoint.get("honorLabels")),
    )

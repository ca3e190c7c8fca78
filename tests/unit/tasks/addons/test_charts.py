"""Our values, the names the product stands on and the sandbox's charts, held against the recorded facts of the real charts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tasks.addons import alertmanager
from tasks.addons.catalogue import load_addons
from tasks.alerts.rules import documents
from tasks.preflight.manifests import tolerates
from tests.support.builders import ROOT, a_model, an_environment
from tools.chart_facts import ABSENT, FACTS, STAND_INS, default_of, digest_of, leaves, merged, values_of

ADDONS = {addon.name: addon for addon in load_addons(ROOT) if addon.chart}
RECORDED: dict[str, dict[str, Any]] = {
    name: json.loads((FACTS / f"{name}.json").read_text()) for name in ADDONS
}
# Defaults in which a stand-in differs on purpose.
OTHER_HERE = {
    # probes of a program that is there at once
    ("dcgm-exporter", "livenessProbe.initialDelaySeconds"),
    ("dcgm-exporter", "livenessProbe.periodSeconds"),
    ("dcgm-exporter", "readinessProbe.initialDelaySeconds"),
    ("dcgm-exporter", "readinessProbe.periodSeconds"),
    # the controller here elects no leader, and its image has no digest
    ("aws-load-balancer-controller", "replicaCount"),
    ("karpenter", "replicas"),
    ("karpenter", "controller.image.digest"),
    # what the image here stands for
    ("kube-prometheus-stack", "prometheus.prometheusSpec.image.tag"),
}


def rendered(name: str, kind: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in RECORDED[name]["rendered"] if each["kind"] == kind}


def seconds(duration: str) -> float:
    """As Prometheus writes them in these charts: whole seconds or minutes."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@pytest.mark.parametrize("name", ADDONS)
def test_the_facts_are_of_the_pinned_version_and_our_present_values(name: str) -> None:
    record = RECORDED[name]
    again = "python -m tools.chart_facts, where the charts can be fetched"
    assert record["version"] == ADDONS[name].version, again
    assert record["rendered_with"] == digest_of(values_of(ADDONS[name])), again


@pytest.mark.parametrize("name", ADDONS)
def test_every_value_of_ours_is_a_key_of_the_chart(name: str) -> None:
    known = RECORDED[name]["defaults"]
    assert [path for path, _ in leaves(values_of(ADDONS[name])) if known[path] == ABSENT] == []


@pytest.mark.parametrize("name", ADDONS)
def test_no_monitor_is_one_that_the_operator_skips(name: str) -> None:
    """prometheus-operator v0.93.0, pkg/prometheus/promcfg.go: scrapeTimeout greater than scrapeInterval."""
    default = rendered("kube-prometheus-stack", "Prometheus")["kube-prometheus-stack-prometheus"]
    for kind in ("ServiceMonitor", "PodMonitor"):
        for monitor in rendered(name, kind).values():
            for endpoint in monitor["endpoints"]:
                interval = endpoint.get("interval") or default["scrapeInterval"]
                if "scrapeTimeout" in endpoint:
                    assert seconds(endpoint["scrapeTimeout"]) <= seconds(interval), monitor["name"]


def test_nothing_watches_what_eks_keeps_to_itself() -> None:
    hidden = ("etcd", "controller-manager", "scheduler", "kube-proxy")
    monitors = rendered("kube-prometheus-stack", "ServiceMonitor")
    assert [name for name in monitors if name.endswith(hidden)] == []
    assert rendered("kube-prometheus-stack", "PrometheusRule") == {}


def test_prometheus_is_where_it_is_asked_and_takes_every_monitor() -> None:
    services = rendered("kube-prometheus-stack", "Service")
    assert services["kube-prometheus-stack-prometheus"]["ports"]["http-web"] == 9090
    asked = (ROOT / "k8s/serving/scaledobject.yaml").read_text() + (
        ROOT / "tasks/cloud/prometheus.py"
    ).read_text()
    assert "kube-prometheus-stack-prometheus" in asked
    spec = rendered("kube-prometheus-stack", "Prometheus")["kube-prometheus-stack-prometheus"]
    assert (spec["podMonitorSelector"], spec["serviceMonitorSelector"]) == ({}, {})
    assert spec["retentionSize"]
    ours = {each["metadata"]["labels"]["release"] for each in documents(a_model(), an_environment(), 600.0)}
    assert {spec["ruleSelector"]["matchLabels"]["release"]} == ours


def test_alertmanager_reads_the_webhooks_address_from_the_secret_that_is_mounted() -> None:
    (spec,) = rendered("kube-prometheus-stack", "Alertmanager").values()
    assert spec["secrets"] == [alertmanager.SECRET]
    (told,) = (
        one for one in alertmanager.configuration()["receivers"] if one["name"] == alertmanager.RECEIVER
    )
    (webhook,) = told["webhook_configs"]
    assert webhook["url_file"] == f"/etc/alertmanager/secrets/{alertmanager.SECRET}/{alertmanager.ENTRY}"
    version = tuple(map(int, spec["version"].removeprefix("v").split(".")))
    assert version >= (0, 26, 0), "the first with url_file"


def test_keda_brings_what_its_proof_looks_at() -> None:
    assert "keda-operator" in rendered("keda", "Deployment")
    assert "v1beta1.external.metrics.k8s.io" in rendered("keda", "APIService")


@pytest.mark.parametrize("name", [name for name, addon in ADDONS.items() if addon.gpu_nodes])
def test_what_runs_on_gpu_nodes_can_be_scheduled_there(name: str) -> None:
    gpu = an_environment().cluster.gpu
    pod = rendered(name, "DaemonSet")[name]["pod"]
    assert pod["nodeSelector"] == gpu.node_selector
    assert any(tolerates(toleration, gpu.taint) for toleration in pod["tolerations"])
    assert "affinity" not in pod, "the chart's own affinity asks for labels that nothing here gives"


@pytest.mark.parametrize("name", ADDONS)
def test_the_sandboxs_chart_has_the_real_ones_defaults(name: str) -> None:
    stand_in = yaml.safe_load((STAND_INS / name / "values.yaml").read_text())
    real = RECORDED[name]["defaults"]
    others = [
        f"{path}: {value!r} here, {real[path]!r} there"
        for path, value in leaves(stand_in)
        if (name, path) not in OTHER_HERE and real[path] not in (value, "(free-form)")
    ]
    assert others == []


@pytest.mark.parametrize("name", ADDONS)
def test_the_sandboxs_chart_is_of_the_real_ones_version(name: str) -> None:
    about = yaml.safe_load((STAND_INS / name / "Chart.yaml").read_text())
    assert str(about["version"]) == RECORDED[name]["version"]
    assert str(about["appVersion"]) == RECORDED[name]["app_version"]


@pytest.mark.parametrize(
    ("path", "default"),
    [("a", 1), ("b.c", 2), ("b.d", ABSENT), ("e.f", "(free-form)"), ("g\\.h/i", 3), ("a.z", ABSENT)],
)
def test_a_default_is_found_by_its_path(path: str, default: Any) -> None:
    assert default_of({"a": 1, "b": {"c": 2}, "e": {}, "g.h/i": 3}, path) == default


def test_values_are_laid_over_each_other_as_helm_does() -> None:
    assert merged({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}}
    assert list(leaves({"a": {"b.c": {}, "d": 1}})) == [("a.b\\.c", {}), ("a.d", 1)]

"""What the sandbox's charts make, and that the values a user sets have an effect."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from slipway_sandbox.images.table import resolve
from tests.charts.conftest import CHARTS, NAMESPACES, Object, one, render

PLUGIN, DCGM, KEDA, STACK, KARPENTER = NAMESPACES
PROMETHEUS = "kube-prometheus-stack-prometheus"
_MEBIBYTES = {"Mi": 1, "Gi": 1024}


def template(item: Object) -> Object:
    spec: Object = item["spec"]["template"]["spec"]
    return spec


def workloads(items: list[Object]) -> list[Object]:
    return [item for item in items if "template" in item.get("spec", {})]


@pytest.mark.parametrize("chart", NAMESPACES)
def test_lint_finds_nothing(chart: str) -> None:
    report = helm_python.lint(str(CHARTS / chart), strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("chart", NAMESPACES)
def test_a_chart_says_what_it_is(chart: str) -> None:
    document = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert document["apiVersion"] == "v2" and document["name"] == chart
    assert document["annotations"]["slipway.sandbox/stand-in"] == "true"
    assert "dependencies" not in document


@pytest.mark.parametrize("chart", NAMESPACES)
def test_built_in_objects_are_valid(chart: str) -> None:
    for item in render(chart, {"gfd": {"enabled": True}}):
        if ".com/" not in item["apiVersion"] and ".k8s.io/" not in item["apiVersion"]:
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("chart", NAMESPACES)
def test_every_image_has_a_program_here(chart: str) -> None:
    for item in workloads(render(chart)):
        for container in template(item)["containers"]:
            image = resolve(container["image"])
            assert image is not None, container["image"]
            assert image.program(image.argv(container.get("command"), container.get("args"))[0])


def test_all_pods_fit_a_small_system_node() -> None:
    """An m6i.large has 2 vCPU and 8 GiB; what the system itself takes must have room too."""
    cpu = memory = 0
    for chart in NAMESPACES:
        for item in workloads(render(chart)):
            for container in template(item)["containers"]:
                requests = container["resources"]["requests"]
                cpu += int(requests["cpu"].removesuffix("m"))
                memory += int(requests["memory"][:-2]) * _MEBIBYTES[requests["memory"][-2:]]
    assert cpu <= 500 and memory <= 1024


@pytest.mark.parametrize("chart", NAMESPACES)
def test_probes_are_quick(chart: str) -> None:
    for item in workloads(render(chart)):
        for container in template(item)["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container.get(probe, {}).get("periodSeconds", 1) <= 2


@pytest.mark.parametrize(
    ("chart", "kind", "name"),
    [
        (PLUGIN, "DaemonSet", PLUGIN),
        (DCGM, "DaemonSet", DCGM),
        (KEDA, "Deployment", "keda-operator"),
        (KARPENTER, "Deployment", KARPENTER),
    ],
)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]),
        ("nodeSelector", {"workload": "inference-gpu"}),
        ("affinity", {"podAntiAffinity": {"x": []}}),
    ],
)
def test_placement_is_the_users(chart: str, kind: str, name: str, key: str, value: Any) -> None:
    made = template(one(render(chart, {key: value}), kind, name))[key]
    assert made == value or set(value) <= set(made)


def test_the_device_plugin_wants_labelled_gpu_nodes_unless_told_otherwise() -> None:
    assert "affinity" in template(one(render(PLUGIN), "DaemonSet", PLUGIN))
    assert "affinity" not in template(one(render(PLUGIN, {"affinity": None}), "DaemonSet", PLUGIN))


@pytest.mark.parametrize(
    ("enabled", "names"), [(False, [PLUGIN]), (True, [PLUGIN, f"{PLUGIN}-gpu-feature-discovery"])]
)
def test_gfd(enabled: bool, names: list[str]) -> None:
    items = render(PLUGIN, {"gfd": {"enabled": enabled}})
    assert [item["metadata"]["name"] for item in items] == names


def test_the_dcgm_service_monitor_is_the_users() -> None:
    values = {
        "serviceMonitor": {"interval": "1s", "additionalLabels": {"release": "kps"}, "honorLabels": True}
    }
    monitor = one(render(DCGM, values), "ServiceMonitor", DCGM)
    assert monitor["spec"]["endpoints"][0]["interval"] == "1s"
    assert monitor["spec"]["endpoints"][0]["honorLabels"] is True
    assert monitor["metadata"]["labels"]["release"] == "kps"
    kinds = {item["kind"] for item in render(DCGM, {"serviceMonitor": {"enabled": False}})}
    assert "ServiceMonitor" not in kinds


def test_the_dcgm_service_monitor_selects_the_service() -> None:
    items = render(DCGM)
    wanted = one(items, "ServiceMonitor", DCGM)["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= one(items, "Service", DCGM)["metadata"]["labels"].items()
    pods = one(items, "DaemonSet", DCGM)["spec"]["template"]["metadata"]["labels"]
    assert one(items, "Service", DCGM)["spec"]["selector"].items() <= pods.items()


def test_keda_watches_the_namespace_it_is_told() -> None:
    values = {
        "watchNamespace": "llm",
        "resources": {"operator": {"requests": {"cpu": "5m"}}},
        "podSecurityContext": {"operator": {"runAsUser": 1000}},
    }
    spec = template(one(render(KEDA, values), "Deployment", "keda-operator"))
    (container,) = spec["containers"]
    assert {"name": "WATCH_NAMESPACE", "value": "llm"} in container["env"]
    assert container["resources"]["requests"]["cpu"] == "5m"
    assert spec["securityContext"]["runAsUser"] == 1000


def test_keda_can_leave_its_definitions_out() -> None:
    kinds = {item["kind"] for item in render(KEDA, {"crds": {"install": False}})}
    assert "CustomResourceDefinition" not in kinds


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"matchLabels": {"release": STACK}}),
        ({"podMonitorSelectorNilUsesHelmValues": False}, {}),
        ({"podMonitorSelector": {"matchLabels": {"a": "b"}}}, {"matchLabels": {"a": "b"}}),
    ],
)
def test_which_pod_monitors_are_scraped(spec: Object, expected: Object) -> None:
    items = render(STACK, {"prometheus": {"prometheusSpec": spec}})
    assert one(items, "Prometheus", PROMETHEUS)["spec"]["podMonitorSelector"] == expected


def test_service_monitors_follow_their_own_switch() -> None:
    values = {"prometheus": {"prometheusSpec": {"serviceMonitorSelectorNilUsesHelmValues": False}}}
    spec = one(render(STACK, values), "Prometheus", PROMETHEUS)["spec"]
    assert spec["serviceMonitorSelector"] == {}
    assert spec["podMonitorSelector"] != {}


def test_prometheus_takes_interval_retention_resources_and_storage() -> None:
    claim = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    settings = {
        "scrapeInterval": "1s",
        "retention": "2h",
        "resources": {"requests": {"memory": "64Mi"}},
        "storageSpec": {"volumeClaimTemplate": claim},
    }
    items = render(STACK, {"prometheus": {"prometheusSpec": settings}})
    assert one(items, "Prometheus", PROMETHEUS)["spec"]["scrapeInterval"] == "1s"
    made = one(items, "StatefulSet", f"prometheus-{PROMETHEUS}")["spec"]
    (container,) = made["template"]["spec"]["containers"]
    assert "--storage.tsdb.retention.time=2h" in container["args"]
    assert container["resources"]["requests"]["memory"] == "64Mi"
    assert made["volumeClaimTemplates"][0]["spec"] == claim["spec"]
    assert container["volumeMounts"][0]["name"] == made["volumeClaimTemplates"][0]["metadata"]["name"]


def test_the_prometheus_service_selects_its_pods() -> None:
    items = render(STACK)
    service = one(items, "Service", PROMETHEUS)
    pods = one(items, "StatefulSet", f"prometheus-{PROMETHEUS}")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pods.items()
    assert service["spec"]["ports"][0]["port"] == 9090


@pytest.mark.parametrize("part", ["grafana", "alertmanager", "nodeExporter", "kubeStateMetrics"])
def test_a_part_of_the_stack_can_be_left_out(part: str) -> None:
    assert len(render(STACK)) - len(render(STACK, {part: {"enabled": False}})) == 1


def test_karpenter_is_not_installed_without_the_clusters_name() -> None:
    with pytest.raises(helm_python.HelmError, match=r"valid settings\.clusterName"):
        render(KARPENTER, {"settings": {"clusterName": ""}})


def test_karpenter_gets_its_settings_as_environment() -> None:
    settings = {"clusterName": "c", "interruptionQueue": "q", "batchIdleDuration": "2s"}
    (container,) = template(one(render(KARPENTER, {"settings": settings}), "Deployment", KARPENTER))[
        "containers"
    ]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (env["CLUSTER_NAME"], env["INTERRUPTION_QUEUE"], env["BATCH_IDLE_DURATION"]) == ("c", "q", "2s")


def test_karpenter_brings_its_three_kinds() -> None:
    items = render(KARPENTER)
    kinds = {i["spec"]["names"]["kind"] for i in items if i["kind"] == "CustomResourceDefinition"}
    assert kinds == {"NodePool", "NodeClaim", "EC2NodeClass"}

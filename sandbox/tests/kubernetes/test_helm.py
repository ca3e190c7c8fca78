from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.conftest import Cluster, refusal

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")

_TEMPLATE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "nginx:1"}]}
"""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chart") / "web"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "templates" / "deployment.yaml").write_text(_TEMPLATE)
    return folder


@pytest.fixture
def releases(cluster: Cluster, namespace: str) -> Iterator[Any]:
    config = helm.Config(kubeconfig_path=str(cluster.kubeconfig), namespace=namespace)
    yield config
    config.close()


def test_install_makes_objects_and_keeps_the_release(
    cluster: Cluster, namespace: str, releases: Any, chart: Path
) -> None:
    releases.install(str(chart), "web", {"replicas": 2}, namespace=namespace)
    assert cluster.apps.read_namespaced_deployment("web", namespace).spec.replicas == 2
    (kept,) = cluster.core.list_namespaced_secret(namespace, label_selector="owner=helm").items
    assert (kept.type, kept.metadata.labels["status"]) == ("helm.sh/release.v1", "deployed")


def test_upgrade_and_rollback_move_the_deployment(
    cluster: Cluster, namespace: str, releases: Any, chart: Path
) -> None:
    releases.install(str(chart), "web", {"replicas": 1}, namespace=namespace)
    releases.upgrade(str(chart), "web", {"replicas": 3}, namespace=namespace)
    assert cluster.apps.read_namespaced_deployment("web", namespace).spec.replicas == 3
    releases.rollback("web", version=1)
    assert cluster.apps.read_namespaced_deployment("web", namespace).spec.replicas == 1
    assert len(list(releases.history("web"))) == 3


def test_uninstall_removes_objects_and_release(
    cluster: Cluster, namespace: str, releases: Any, chart: Path
) -> None:
    releases.install(str(chart), "web", namespace=namespace)
    releases.uninstall("web")
    assert refusal(cluster.apps.read_namespaced_deployment, "web", namespace).status == 404
    assert cluster.core.list_namespaced_secret(namespace, label_selector="owner=helm").items == []

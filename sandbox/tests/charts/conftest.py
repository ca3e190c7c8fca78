from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from slipway_sandbox.apiclient import ApiClient
from slipway_sandbox.images.prometheus.watch import read_kubeconfig

Object = dict[str, Any]
CHARTS = Path(__file__).parents[3] / "sandbox" / "charts"
NAMESPACES = {
    "nvidia-device-plugin": "kube-system",
    "dcgm-exporter": "monitoring",
    "keda": "keda",
    "kube-prometheus-stack": "monitoring",
    "karpenter": "kube-system",
}
REQUIRED: dict[str, Object] = {"karpenter": {"settings": {"clusterName": "slipway"}}}
"""Values without which a chart is not installed."""


def render(chart: str, values: Object | None = None) -> list[Object]:
    """Every object the chart makes, the definitions in crds/ too."""
    with helm_python.Chart.load(str(CHARTS / chart)) as loaded:
        texts = [entry["data"] for entry in loaded.crds]
        texts += loaded.render(
            {**REQUIRED.get(chart, {}), **(values or {})}, name=chart, namespace=NAMESPACES[chart]
        ).values()
    return [item for text in texts for item in yaml.safe_load_all(text) if item]


def one(items: list[Object], kind: str, name: str) -> Object:
    (found,) = [item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """An API server alone: no controllers, no nodes."""
    path = tmp_path / "kubeconfig"
    argv = [sys.executable, "-m", "slipway_sandbox.kubernetes", "--token", "test", "--kubeconfig", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(path)
        yield path
        process.terminate()
        process.wait(10)


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[ApiClient]:
    async with read_kubeconfig(kubeconfig).client() as made:
        yield made


def install(kubeconfig: Path, chart: str, values: Object | None = None) -> None:
    with helm_python.Config(kubeconfig_path=str(kubeconfig), namespace=NAMESPACES[chart]) as config:
        config.install(
            str(CHARTS / chart),
            chart,
            values,
            namespace=NAMESPACES[chart],
            create_namespace=True,
            wait="hookOnly",
            timeout=30,
        )

"""What holds of k8s/addons/values against the pinned charts' own defaults."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tasks.records.quantities import parse_duration
from tests.support.builders import ROOT

# serviceMonitor of dcgm-exporter 4.8.3: deployment/values.yaml at NVIDIA/dcgm-exporter@7ad58324
DCGM_DEFAULTS = {"interval": "30s", "scrapeTimeout": "25s"}


def values(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "k8s/addons/values" / f"{name}.yaml").read_text())
    return document


@pytest.mark.parametrize("folder", ["k8s/addons/values", "sandbox/values"])
def test_a_scrape_ends_before_the_next_begins_or_the_operator_skips_the_monitor(folder: str) -> None:
    written = yaml.safe_load((ROOT / folder / "dcgm-exporter.yaml").read_text())["serviceMonitor"]
    monitor = {**DCGM_DEFAULTS, **written}
    assert parse_duration(monitor["scrapeTimeout"]) <= parse_duration(monitor["interval"])


def test_monitors_of_control_plane_parts_eks_hides_are_off() -> None:
    stack = values("kube-prometheus-stack")
    for part in ("kubeEtcd", "kubeControllerManager", "kubeScheduler", "kubeProxy"):
        assert stack[part] == {"enabled": False}

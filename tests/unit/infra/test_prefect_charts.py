"""k8s/prefect against Prefect's own charts, worker and settings."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml
from prefect.utilities.templating import apply_values
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from flows.deployments import PREFECT_VERSION
from flows.job_template import FILE, completed
from tasks.records.work_pool import RunPod
from tests.support.builders import ROOT
from tools.chart_facts import ABSENT, digest_of
from tools.prefect_charts import values_of

FACTS: dict[str, Any] = json.loads((ROOT / "k8s/prefect/charts.json").read_text())
POD = RunPod(image=f"registry.example.com/slipway@sha256:{'0' * 64}")
TEMPLATE = completed((ROOT / FILE).read_text(), POD)


@pytest.mark.parametrize("chart", ["server", "worker"])
def test_every_value_is_one_of_the_chart_s_and_its_record_is_of_these_values(chart: str) -> None:
    assert FACTS[chart]["values"] == digest_of(values_of(chart)), "python -m tools.prefect_charts"
    assert ABSENT not in FACTS[chart]["defaults"].values()


def test_the_images_are_of_the_version_that_is_pinned() -> None:
    server, worker = values_of("server"), values_of("worker")
    assert server["global"]["prefect"]["image"]["prefectTag"].startswith(f"{PREFECT_VERSION}-")
    assert worker["worker"]["image"]["prefectTag"].startswith(f"{PREFECT_VERSION}-")


def test_no_secret_stands_in_a_value() -> None:
    for chart in ("server", "worker"):
        text = yaml.safe_dump(values_of(chart))
        assert "authString" not in text
        assert "password:" not in text


def test_a_job_of_the_template_is_one_the_worker_takes() -> None:
    filled: Any = apply_values(TEMPLATE["job_configuration"], {"env": {"A": "b"}, "name": "x"})
    job = KubernetesWorkerJobConfiguration(**filled).job_manifest
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == POD.keep_seconds
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == POD.service_account
    assert pod["containers"][0]["image"] == POD.image
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }


def test_the_template_has_no_key_that_the_worker_s_own_has_not() -> None:
    own = asyncio.run(get_default_base_job_template_for_infrastructure_type("kubernetes"))
    assert own
    assert {*TEMPLATE["job_configuration"]} <= {*own["job_configuration"]}
    assert {*TEMPLATE["variables"]["properties"]} <= {*own["variables"]["properties"]}

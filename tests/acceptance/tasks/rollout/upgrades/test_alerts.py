"""A model that fails its callers is told to a webhook: real Prometheus and Alertmanager over the product's own rules."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tasks.addons import alertmanager as product
from tasks.alerts.rules import API, KIND, documents
from tasks.cloud import objects
from tests.support.builders import ROOT, a_model, an_environment
from tests.support.platform_fixtures import Webhook
from tests.support.prometheus import alertmanager, prometheus
from tests.support.upgrades import Upgrades
from tests.support.workloads import NAMESPACE, Document, wait

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
ALERT = "SlipwayRequestsFail"


def quick(configuration: Document, url: str) -> Document:
    """The product's configuration with shorter waits, and the address itself: Debian's Alertmanager has no url_file yet."""
    told = copy.deepcopy(configuration)
    told["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in told["receivers"]:
        for each in receiver.get("webhook_configs", ()):
            del each["url_file"]
            each["url"] = url
    return told


def targets(one: Upgrades, selector: str, port: int) -> list[dict[str, Any]]:
    """The pods as a PodMonitor has them scraped: with the labels namespace and pod."""
    pods = objects.staying(one.api.list("v1", "Pod", NAMESPACE, label_selector=selector))
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port}"],
            "labels": {"namespace": NAMESPACE, "pod": objects.name(pod)},
        }
        for pod in pods
    ]


def test_requests_that_fail_are_told_and_so_is_their_end(
    one: Upgrades, webhook: Webhook, tmp_path: Path
) -> None:
    environment = an_environment(alerts={"window": "5s", "patience": "1s"})
    one.api.apply(
        yaml.safe_load((ROOT / "sandbox/charts/kube-prometheus-stack/crds/prometheusrules.yaml").read_text())
    )
    for document in documents(a_model(**one.model), environment, 600.0):
        one.api.apply(document)
    applied = one.api.get(API, KIND, one.workload, NAMESPACE)
    assert applied
    scraped = [*targets(one, "app=vllm", 8000), *targets(one, "app=llm-gateway", 9113)]
    assert len(scraped) >= 2

    def told(status: str) -> list[dict[str, Any]]:
        alerts = [alert for message in webhook.heard for alert in message.get("alerts", ())]
        return [
            alert for alert in alerts if alert["status"] == status and alert["labels"]["model"] == one.name
        ]

    with alertmanager(quick(product.configuration(), webhook.url), tmp_path) as at:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "pods", "static_configs": scraped}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [at]}]}]},
        }
        with prometheus(config, applied["spec"], tmp_path) as url, one.calling():

            def value(query: str) -> float:
                answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).json()
                return float(answer["data"]["result"][0]["value"][1]) if answer["data"]["result"] else 0.0

            good = f'sum(increase(slipway_gateway_requests_total{{model="{one.name}",code="200"}}[5s]))'
            wait(lambda: value(good) >= 20)
            assert not told("firing"), "nothing is wrong yet"
            one.api.patch("apps/v1", "Deployment", one.workload, {"spec": {"replicas": 0}}, NAMESPACE)
            wait(lambda: bool(told("firing")))
            alert = told("firing")[0]
            assert alert["labels"]["alertname"] == ALERT
            assert alert["labels"]["severity"] == "critical"
            assert "failed at the gateway" in alert["annotations"]["summary"]
            assert alert["annotations"]["next_command"].startswith("kubectl -n llm logs")
            one.api.patch("apps/v1", "Deployment", one.workload, {"spec": {"replicas": 1}}, NAMESPACE)
            wait(lambda: bool(told("resolved")))

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest

from tasks.alerts.rules import documents, gateway_rules, rules_of
from tests.support.builders import ROOT, a_model, an_environment

GOLDEN = ROOT / "sandbox" / "tests" / "images" / "golden"
START = 1200.0
LIMITS = {"ttft": {"p95": "500ms"}, "tpot": {"p50": "50ms"}, "e2e": {"p99": "2s"}, "errors": 0.02}


def expressions(**model: Any) -> dict[str, str]:
    return {rule.name: rule.expression for rule in rules_of(a_model(**model), an_environment(), START)}


def test_each_objective_has_its_alert_and_no_other_latency_has_one() -> None:
    found = expressions(objectives=LIMITS)
    assert "histogram_quantile(0.95," in found["SlipwayFirstTokenSlow"]
    assert "> 0.5 " in found["SlipwayFirstTokenSlow"]
    assert "histogram_quantile(0.5," in found["SlipwayOutputTokensSlow"]
    assert "> 2 " in found["SlipwayAnswersSlow"]
    assert "> 0.02 " in found["SlipwayRequestsFail"]
    assert "SlipwayTokenGapsLong" not in found
    assert not {"SlipwayFirstTokenSlow", "SlipwayAnswersSlow"} & expressions().keys()


@pytest.mark.parametrize(("percentile", "requests"), [("p50", 20), ("p95", 100), ("p99", 500)])
def test_a_percentile_of_few_requests_is_no_alert(percentile: str, requests: int) -> None:
    assert f">= {requests}" in expressions(objectives={"ttft": {percentile: "1s"}})["SlipwayFirstTokenSlow"]


def test_every_expression_is_promql_and_about_this_model_only() -> None:
    for name, expression in expressions(objectives=LIMITS).items():
        promql_parser.parse(expression)
        for selector in re.findall(r"\{([^}]*)\}", expression):
            assert 'namespace="llm"' in selector, name
            assert "llama" in selector, name
    for rule in gateway_rules(an_environment()):
        promql_parser.parse(rule.expression)


def test_vllm_has_every_metric_that_is_asked_of_it() -> None:
    has = {line.split("{")[0] for line in (GOLDEN / "metrics_shape.txt").read_text().splitlines()}
    asked = {
        name for text in expressions(objectives=LIMITS).values() for name in re.findall(r"vllm:\w+", text)
    }
    assert len(asked) > 5
    assert asked <= has


@pytest.mark.parametrize(
    ("pod", "mine"),
    [
        ("vllm-llama-7d9c5b6f4-x2x4z", True),
        ("green-vllm-llama-7d9c5b6f4-x2x4z", True),
        ("vllm-llama-large-7d9c5b6f4-x2x4z", False),
        ("vllm-other-7d9c5b6f4-x2x4z", False),
    ],
)
def test_a_pod_is_told_from_those_of_a_model_with_a_longer_name(pod: str, mine: bool) -> None:
    (pattern,) = set(re.findall(r'pod=~"([^"]*)"', expressions()["SlipwayMetricsMissing"]))
    assert bool(re.fullmatch(pattern, pod)) is mine


def test_an_embedding_model_has_no_kv_cache_to_fill() -> None:
    assert "SlipwayKvCacheFull" in expressions()
    assert "SlipwayKvCacheFull" not in expressions(engine={"task": "embed"}, load={"endpoint": "embeddings"})


def test_the_documents_are_found_by_the_prometheus_of_the_environment() -> None:
    ours = documents(a_model(), an_environment(), START)
    assert [each["metadata"]["name"] for each in ours] == ["vllm-llama", "llm-gateway"]
    assert {each["metadata"]["labels"]["release"] for each in ours} == {"kube-prometheus-stack"}
    server = {"service": "prom", "namespace": "watch", "monitor_labels": {"team": "ml"}}
    (theirs, _) = documents(a_model(), an_environment(existing={"prometheus": server}), START)
    assert theirs["metadata"]["labels"] == {"team": "ml"}
    server["rule_labels"] = {"role": "alerts"}
    (theirs, _) = documents(a_model(), an_environment(existing={"prometheus": server}), START)
    assert theirs["metadata"]["labels"] == {"role": "alerts"}


def test_each_alert_says_its_cause_and_a_command() -> None:
    for document in documents(a_model(objectives=LIMITS), an_environment(), START):
        for rule in document["spec"]["groups"][0]["rules"]:
            assert rule["labels"]["environment"] == "staging"
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["next_command"].split()[0] in ("kubectl", "slipway")

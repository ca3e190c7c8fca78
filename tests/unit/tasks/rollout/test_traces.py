from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.tracing import Tracing
from tasks.rollout.gateway import documents
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, WEIGHTS, a_cache, a_model, an_environment

COLLECTOR = {
    "endpoint": "http://otel.observability:4317",
    "namespace": "observability",
    "pod_labels": {"app": "otel"},
}


def made(**tracing: Any) -> dict[str, dict[str, Any]]:
    where = an_environment(tracing={**COLLECTOR, **tracing})
    return {
        document["kind"]: document
        for document in serving(ROOT, a_model(), where, Weights.of(a_cache(), WEIGHTS))
    }


def test_vllm_sends_spans_to_the_collector_under_the_models_name() -> None:
    [container] = made()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "--otlp-traces-endpoint=http://otel.observability:4317" in container["args"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["OTEL_SERVICE_NAME"] == "llama"
    assert variables["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "grpc"


def test_the_network_policy_lets_spans_out_to_the_collector_alone() -> None:
    rule = made()["NetworkPolicy"]["spec"]["egress"][-1]
    assert rule == {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}},
                "podSelector": {"matchLabels": {"app": "otel"}},
            }
        ],
        "ports": [{"protocol": "TCP", "port": 4317}],
    }


def test_without_a_collector_nothing_is_sent() -> None:
    found = {
        each["kind"]: each
        for each in serving(ROOT, a_model(), an_environment(), Weights.of(a_cache(), WEIGHTS))
    }
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert not [word for word in container["args"] if "otlp" in word]
    assert not [each for each in container["env"] if each["name"].startswith("OTEL_")]
    assert len(found["NetworkPolicy"]["spec"]["egress"]) == 1


@pytest.mark.parametrize(("sampled", "share"), [(0.1, "10.00% 01; * 00;"), (1.0, "* 01;"), (0.0, "* 00;")])
def test_the_gateway_samples_what_begins_there(sampled: float, share: str) -> None:
    where = an_environment(tracing={**COLLECTOR, "sampled": sampled})
    [found] = [each for each in documents(ROOT, where, {}) if each["kind"] == "ConfigMap"]
    assert share in found["data"]["tracing.conf"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"endpoint": "otel:4317"}, "HOST:PORT"),
        ({"endpoint": "http://otel"}, "HOST:PORT"),
        ({"endpoint": "https://otel:4317"}, "without TLS"),
        ({"sampled": 2}, "less than or equal to 1"),
        ({"pod_labels": {}}, "at least 1 item"),
        ({"protocol": "zipkin"}, "http/protobuf"),
    ],
)
def test_a_collector_that_vllm_could_not_reach_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Tracing.model_validate({**COLLECTOR, **changed})

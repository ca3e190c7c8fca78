"""The manifests that `slipway render` prints and preflight judges."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

import flows.render
from flows.render import render
from flows.run.outcomes import rendered
from tasks.cloud.registry import ENDPOINT_VARIABLE
from tests.support.builders import ROOT, an_inspection
from tests.support.stage import Stage

CLUSTER_SCOPED = {"Namespace", "StorageClass"}


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Of tiny-llama in staging, with a hub that stands in."""
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    stage.does(flows.render, "inspect_model", an_inspection())
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")  # a registry that is away
    return render("tiny-llama", "staging", None)


def names(documents: list[dict[str, Any]]) -> list[str]:
    return [f"{document['kind']}/{document['metadata']['name']}" for document in documents]


def test_all_a_deploy_would_apply_is_there(documents: list[dict[str, Any]]) -> None:
    expected = {
        "Namespace/llm",
        "StorageClass/gp3-retain-3000-125",
        "PersistentVolumeClaim/model-cache-tiny-llama",
        "Job/warm-tiny-llama-0123456789ab",
        "ConfigMap/gateway-models",
        "Deployment/llm-gateway",
        "Deployment/vllm-tiny-llama",
        "Service/vllm-tiny-llama",
        "ScaledObject/vllm-tiny-llama",
    }
    assert expected <= {*names(documents)}


def test_a_namespace_comes_before_what_is_in_it(documents: list[dict[str, Any]]) -> None:
    assert documents[0]["kind"] == "Namespace"
    for document in documents:
        expected = None if document["kind"] in CLUSTER_SCOPED else "llm"
        assert document["metadata"].get("namespace") == expected, document["kind"]


def test_a_job_that_lives_only_while_it_asks_is_left_out(documents: list[dict[str, Any]]) -> None:
    assert [name for name in names(documents) if name.startswith("Job/gate-")] == []
    assert "NetworkPolicy/slipway-validation" in names(documents)


def test_the_gateway_routes_the_model(documents: list[dict[str, Any]]) -> None:
    (routes,) = [each["data"] for each in documents if each["metadata"]["name"] == "gateway-models"]
    assert {*routes} == {"tiny-llama.upstream", "tiny-llama.conf", "tiny-llama.json"}
    assert "server vllm-tiny-llama.llm.svc.cluster.local:8000" in routes["tiny-llama.upstream"]


def test_the_deployment_and_its_pods_carry_the_release(documents: list[dict[str, Any]]) -> None:
    (workload,) = [each for each in documents if names([each]) == ["Deployment/vllm-tiny-llama"]]
    of_pods = workload["spec"]["template"]["metadata"]["annotations"]
    release = workload["metadata"]["annotations"]["slipway.dev/release"]
    assert re.fullmatch(r"[0-9a-f]{12}", release)
    assert of_pods["slipway.dev/release"] == release


def test_no_document_is_there_twice(documents: list[dict[str, Any]]) -> None:
    assert len({*names(documents)}) == len(documents)


def test_nothing_is_left_to_be_completed(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        if document["kind"] != "ConfigMap":  # these hold programs, with words of their own
            placeholders = re.findall(r"\b(?:MODEL|NAMESPACE|COMMIT|IOPS|THROUGHPUT)\b", str(document))
            assert placeholders == [], document["kind"]


def test_a_program_in_a_config_map_can_be_read(documents: list[dict[str, Any]]) -> None:
    text = "\n".join(rendered(documents, {}).lines)
    assert "\n  __main__.py: |\n" in text


def test_what_is_printed_reads_back_as_the_same_documents(documents: list[dict[str, Any]]) -> None:
    text = "\n".join(rendered(documents, {}).lines)
    assert list(yaml.safe_load_all(text)) == documents


def test_the_revision_asked_for_is_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    stage.does(flows.render, "inspect_model", an_inspection())
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")
    render("tiny-llama", "staging", "v2")
    assert stage.recorded.arguments["inspect_model"][-1] == "v2"

"""The names that stages share are the ones the manifests in k8s/ carry."""

from __future__ import annotations

import pytest

from tasks.records import names
from tasks.records.gpu_nodes import Taint
from tests.support.builders import ROOT, a_model, an_environment


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("serving/deployment.yaml", f"{names.workload(a_model(name='x'))[:-1]}MODEL"),
        ("serving/scaledobject.yaml", "name: vllm-MODEL"),
        ("serving/deployment.yaml", names.RELEASE_ANNOTATION),
        ("serving/deployment.yaml", f"name: {names.VLLM}"),
        ("serving/deployment.yaml", f"containerPort: {names.VLLM_PORT}"),
        ("serving/deployment.yaml", f"name: {names.KEY_SECRET}"),
        ("serving/deployment.yaml", f"key: {names.KEY_ENTRY}"),
        ("gateway/upstream.conf", "server vllm-MODEL."),
        ("gateway/deployment.yaml", f"name: {names.GATEWAY}"),
        ("cache/claim.yaml", f"name: {names.CACHE}-MODEL"),
        ("cache/serviceaccount.yaml", f"name: {names.CACHE}"),
        ("cache/networkpolicy.yaml", f"app: {names.CACHE}"),
        ("cache/job.yaml", f"app: {names.CACHE}"),
    ],
)
def test_a_name_is_the_one_the_manifest_has(file: str, written: str) -> None:
    assert written in (ROOT / "k8s" / file).read_text()


def test_names_of_one_model() -> None:
    model = a_model(name="llama")
    assert names.workload(model) == "vllm-llama"
    assert names.serving_selector(model) == "slipway.dev/model=llama"
    assert names.cache_claim(model) == "model-cache-llama"
    assert names.cache_selector(model) == "app=model-cache,model=llama"


def test_a_repos_slash_stays_in_the_bucket_and_goes_on_the_volume() -> None:
    assert names.staged_prefix("org/model", "abc") == "org/model/abc"
    assert names.cache_path("org/model", "abc") == "org--model/abc"


def test_selector_and_node_selector_are_made_from_the_same_label() -> None:
    gpu = an_environment(cluster={"gpu": {"label_key": "pool", "label_value": "a10g"}}).cluster.gpu
    assert (gpu.selector, gpu.node_selector) == ("pool=a10g", {"pool": "a10g"})


@pytest.mark.parametrize(
    ("value", "toleration"),
    [
        ("true", {"key": "k", "operator": "Equal", "value": "true", "effect": "NoExecute"}),
        ("", {"key": "k", "operator": "Exists", "effect": "NoExecute"}),
    ],
)
def test_a_toleration_matches_its_taint(value: str, toleration: dict[str, str]) -> None:
    assert Taint(key="k", value=value, effect="NoExecute").toleration == toleration

"""Paths through NetworkPolicies, ours and the broken ones of the documents Slipway began from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tasks.cache import manifests as cache
from tasks.cloud import inside
from tasks.cloud.reachability import Address, Path, Pod, isolates, selects, shutters, wrong_paths
from tasks.preflight.paths import needed_paths, pods_of
from tasks.records.results import StagedModel
from tasks.rollout import gateway, namespace
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import COMMIT, ROOT, WEIGHTS, a_cache, a_model, an_environment, an_inspection

VLLM = Pod("vllm", "llm", {"app": "vllm"}, {"http": 8000})
GATEWAY = Pod("gateway", "llm", {"app": "llm-gateway"})
PROMETHEUS = Pod("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"})

# the three policies as the source documents describe them: nothing lets anyone in to vLLM
BROKEN = """
metadata: {name: default-deny, namespace: llm}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
metadata: {name: allow-gateway-ingress-and-vllm-egress, namespace: llm}
spec:
  podSelector: {matchLabels: {app: llm-gateway}}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: 8080}]}]
  egress:
    - {to: [{podSelector: {matchLabels: {app: vllm}}}], ports: [{port: 8000}]}
    - {ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}
---
metadata: {name: allow-vllm-egress, namespace: llm}
spec:
  podSelector: {matchLabels: {app: vllm}}
  policyTypes: [Egress]
  egress: [{ports: [{port: 443}]}, {ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]
"""


def policy(text: str, name: str = "p") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "llm"}, "spec": yaml.safe_load(text)}


def is_open(policies: list[dict[str, Any]], path: Path) -> bool:
    return not shutters(policies, path)


def ours() -> list[dict[str, Any]]:
    """Everything a deploy puts into the namespace."""
    model, where = a_model(), an_environment()
    staged = StagedModel(
        bucket="b",
        prefix="p",
        repo="a/b",
        commit=COMMIT,
        total_bytes=1,
        manifest_sha256="0" * 64,
        account="111122223333",
    )
    warm = cache.job(where, model, staged, needed=[], node=None, seconds=60.0)
    return [
        *namespace.documents(ROOT, where),
        *gateway.documents(ROOT, where, {}),
        *cache.for_namespace(where),
        warm,
        inside.policy(where),
        inside.preview(where, model.name),
        *serving(ROOT, model, where, Weights.of(a_cache(), WEIGHTS)),
    ]


def policies_of(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == "NetworkPolicy"]


def test_our_policies_open_what_serving_needs_and_nothing_else() -> None:
    documents = ours()
    assert wrong_paths(policies_of(documents), needed_paths(documents, an_environment())) == []


def test_what_streams_reaches_s3_and_what_does_not_stream_reaches_nothing() -> None:
    model, where = a_model(weights="stream", resources={"memory": "32Gi"}), an_environment()
    weights = Weights.expected(model, an_inspection(), "acme-models")
    documents = [
        *namespace.documents(ROOT, where),
        *gateway.documents(ROOT, where, {}),
        *serving(ROOT, model, where, weights),
    ]
    policies = policies_of(documents)
    assert wrong_paths(policies, needed_paths(documents, where)) == []
    without = [policy for policy in policies if policy["metadata"]["name"] != "vllm-stream"]
    found = wrong_paths(without, needed_paths(documents, where))
    assert any("vllm-llama -> the Pod Identity agent:80/TCP is shut" in line for line in found), found


@pytest.mark.parametrize(
    ("left_out", "line"),
    [
        ("llm-gateway", "the load balancer -> llm-gateway:8080/TCP is shut by ingress policy"),
        ("model-cache", "the Pod Identity agent:80/TCP is shut by egress policy"),
        ("llm-gateway", "gate-llama -> llm-gateway:8080/TCP is shut by ingress policy"),
        ("vllm", "llm-gateway -> vllm-llama:8000/TCP is shut by ingress policy"),
        ("vllm", "Prometheus -> vllm-llama:8000/TCP is shut by ingress policy"),
        ("slipway-validation", "gate-llama -> llm-gateway:8080/TCP is shut by egress policy"),
        ("default-deny", None),
    ],
)
def test_every_policy_of_ours_is_needed(left_out: str, line: str | None) -> None:
    documents = ours()
    rest = [p for p in policies_of(documents) if p["metadata"]["name"] != left_out]
    assert len(rest) == len(policies_of(documents)) - 1
    found = wrong_paths(rest, needed_paths(documents, an_environment()))
    if line is None:  # each workload's own policy isolates it already: default-deny is for what comes later
        assert found == []
    else:
        assert any(line in one for one in found), found


def test_without_any_policy_strangers_get_in() -> None:
    documents = ours()
    found = wrong_paths([], needed_paths(documents, an_environment()))
    assert any("a pod of another namespace -> vllm-llama:8000/TCP is open" in one for one in found)


def test_without_its_policy_the_pod_that_holds_the_key_gets_out() -> None:
    documents = ours()
    rest = [
        p
        for p in policies_of(documents)
        if p["metadata"]["name"] not in ("slipway-validation", "default-deny")
    ]
    found = wrong_paths(rest, needed_paths(documents, an_environment()))
    assert any("gate-llama -> the internet:443/TCP is open" in one for one in found)


def test_the_source_documents_policies_shut_vllm_off_from_gateway_and_prometheus() -> None:
    policies = [dict(one) for one in yaml.safe_load_all(BROKEN)]
    for source in (GATEWAY, PROMETHEUS):
        path = Path(source, VLLM, 8000, True, "requests come this way")
        [line] = wrong_paths(policies, [path])
        assert line.startswith(
            f"{source.name} -> vllm:8000/TCP is shut by ingress policy of vllm (default-deny)"
        )


def test_the_source_documents_policies_keep_the_pod_identity_agent_out_of_reach() -> None:
    policies = [dict(one) for one in yaml.safe_load_all(BROKEN)]
    agent = Address("agent", "169.254.170.23")
    assert not is_open(policies, Path(VLLM, agent, 80, True, ""))
    assert is_open(policies, Path(VLLM, Address("hub", "18.0.0.1"), 443, True, ""))


def test_a_label_mistyped_in_the_workload_is_seen() -> None:
    documents = ours()
    workload = next(
        d for d in documents if d["metadata"]["name"] == "vllm-llama" and d["kind"] == "Deployment"
    )
    workload["spec"]["template"]["metadata"]["labels"]["app"] = "vlm"
    found = wrong_paths(policies_of(documents), needed_paths(documents, an_environment()))
    assert any("llm-gateway -> vllm-llama:8000/TCP is shut" in one for one in found)


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ("podSelector: {}", True, False),
        ("{podSelector: {}, egress: [{}]}", True, True),
        ("{podSelector: {}, policyTypes: [Egress]}", False, True),
        ("{podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress, Egress]}", False, False),
    ],
)
def test_policy_types_default_as_the_api_says(spec: str, ingress: bool, egress: bool) -> None:
    one = policy(spec)
    assert (isolates(one, "Ingress", VLLM), isolates(one, "Egress", VLLM)) == (ingress, egress)


@pytest.mark.parametrize(
    ("rule", "source", "expected"),
    [
        ("{}", PROMETHEUS, True),
        ("{from: []}", PROMETHEUS, True),
        ("{from: [{podSelector: {}}]}", GATEWAY, True),
        ("{from: [{podSelector: {}}]}", PROMETHEUS, False),
        ("{from: [{namespaceSelector: {}}]}", PROMETHEUS, True),
        (
            "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}",
            GATEWAY,
            False,
        ),
        (
            "{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: Exists}]}}]}",
            PROMETHEUS,
            False,
        ),
        ("{from: [{ipBlock: {cidr: 10.0.0.0/16}}]}", Address("lb", "10.0.3.4"), True),
        ("{from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.3.0/24]}}]}", Address("lb", "10.0.3.4"), False),
        ("{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}", GATEWAY, False),
        ("{ports: [{port: http}]}", GATEWAY, True),
        ("{ports: [{port: metrics}]}", GATEWAY, False),
        ("{ports: [{port: 7000, endPort: 8000}]}", GATEWAY, True),
        ("{ports: [{port: 8000, protocol: UDP}]}", GATEWAY, False),
        ("{ports: [{protocol: TCP}]}", GATEWAY, True),
    ],
)
def test_an_ingress_rule(rule: str, source: Pod | Address, expected: bool) -> None:
    one = policy(f"{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rule}]}}")
    assert is_open([one], Path(source, VLLM, 8000, True, "")) is expected


def test_policies_add_up() -> None:
    deny = policy("{podSelector: {}, policyTypes: [Ingress]}", "deny")
    allow = policy("{podSelector: {matchLabels: {app: vllm}}, ingress: [{ports: [{port: 8000}]}]}", "allow")
    assert not is_open([deny], Path(GATEWAY, VLLM, 8000, True, ""))
    assert is_open([deny, allow], Path(GATEWAY, VLLM, 8000, True, ""))


def test_a_policy_of_another_namespace_says_nothing_here() -> None:
    elsewhere = {"metadata": {"name": "deny", "namespace": "other"}, "spec": {"podSelector": {}}}
    assert is_open([elsewhere], Path(GATEWAY, VLLM, 8000, True, ""))


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="Near"):
        selects({"matchExpressions": [{"key": "app", "operator": "Near"}]}, {"app": "vllm"})


def test_pods_come_from_templates_with_their_named_ports() -> None:
    found = {pod.name: pod for pod in pods_of(ours())}
    assert set(found) == {"llm-gateway", "vllm-llama", "gate-llama", f"warm-llama-{COMMIT[:12]}"}
    assert found["vllm-llama"].ports == {"http": 8000}

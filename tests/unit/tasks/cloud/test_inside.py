"""The documents of the Jobs that ask the gateway from inside the cluster."""

from __future__ import annotations

import base64
import gzip
import json
import random
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tasks.cloud import inside
from tasks.cloud.inside import Program
from tasks.cloud.reachability import Address, Path, wrong_paths
from tasks.preflight.paths import pods_of
from tasks.records.errors import ClusterError, InputError
from tasks.records.names import KEY_SECRET, OWN_KEY_SECRET
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_cache, a_model, an_environment

TRACE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"


def program(**files: bytes) -> Program:
    return Program("load-llama", "tasks.validation.load", '{"seed": 0}', files)


def job(**environment: Any) -> dict[str, Any]:
    return inside.job(an_environment(**environment), "llama", program(trace=TRACE), seconds=90.0)


def test_the_documents_are_what_kubernetes_takes() -> None:
    where = an_environment()
    for document in (job(), inside.policy(where), inside.config_map(where, program(trace=TRACE))):
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_pod_stays_off_the_gpu_nodes_and_asks_for_no_gpu() -> None:
    pod = job()["spec"]["template"]["spec"]
    [term] = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": "workload", "operator": "NotIn", "values": ["inference-gpu"]}]
    assert "tolerations" not in pod
    assert "nvidia.com/gpu" not in json.dumps(pod)


def test_the_key_comes_by_reference_to_its_secret_and_the_pod_has_no_other_identity() -> None:
    pod = job()["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [key] = [one for one in container["env"] if one["name"] == "SLIPWAY_API_KEY"]
    assert key == {
        "name": "SLIPWAY_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": OWN_KEY_SECRET, "key": "api-key"}},
    }
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod


def test_no_selector_of_what_serves_takes_the_pod_for_a_serving_one() -> None:
    labels = job()["spec"]["template"]["metadata"]["labels"]
    weights = Weights.of(a_cache(), 1 << 20)
    for document in serving(ROOT, a_model(), an_environment(), weights):
        written = json.dumps(document["spec"]) if "spec" in document else ""
        assert not [key for key in labels.keys() - {"app"} if f'"{key}":' in written], document["kind"]


def test_image_and_cpu_are_the_environments() -> None:
    [container] = job(validation={"image": "registry.acme/slipway:1", "cpu": "1"})["spec"]["template"][
        "spec"
    ]["containers"]
    assert container["image"] == "registry.acme/slipway:1"
    assert container["resources"]["requests"]["cpu"] == "1"


def test_every_file_the_job_mounts_is_in_its_config_map_and_the_load_s_files_are_compressed() -> None:
    held = inside.config_map(an_environment(), program(trace=TRACE))
    [volume] = job()["spec"]["template"]["spec"]["volumes"]
    assert {item["key"] for item in volume["configMap"]["items"]} == held["data"].keys() | held[
        "binaryData"
    ].keys()
    assert {"instructions.json", "tasks/validation/load/__main__.py", "trace.gz"} < {
        item["path"] for item in volume["configMap"]["items"]
    }
    assert gzip.decompress(base64.b64decode(held["binaryData"]["trace.gz"])) == TRACE


def test_files_that_do_not_fit_are_refused_with_the_way_that_has_no_limit() -> None:
    noise = random.Random(0).randbytes(1_100_000)
    with pytest.raises(InputError, match="too large for a Job") as caught:
        inside.check_size(program(trace=noise))
    assert "--measure-from here" in str(caught.value.next_command)


def test_a_job_that_asks_pods_reaches_vllm_with_its_key_and_no_other_job_does() -> None:
    where, model = an_environment(), a_model()
    asking = inside.job(where, model.name, program().asking_pods(), seconds=90.0)
    [container] = asking["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == KEY_SECRET
    served = serving(ROOT, model, where, Weights.of(a_cache(), 1 << 30))
    own = inside.policies_of_pods(where)
    for policy in own:
        kubernetes_validate.validate(policy, "1.33", strict=True)
    [vllm] = pods_of([one for one in served if one["kind"] == "Deployment"])
    denied = yaml.safe_load((ROOT / "k8s/namespace/default-deny.yaml").read_text())
    denied["metadata"]["namespace"] = where.namespace
    policies = [*(one for one in served if one["kind"] == "NetworkPolicy"), inside.policy(where), denied]
    [pairs], [load] = pods_of([asking]), pods_of([job()])
    internet = Address("the internet", "203.0.113.9")
    wanted = [
        Path(pairs, vllm, 8000, True, "it asks both releases"),
        Path(load, vllm, 8000, False, "the load asks the gateway"),
        Path(pairs, internet, 443, False, "it asks both releases"),
    ]
    assert wrong_paths([*policies, *own], wanted) == []
    assert len(wrong_paths(policies, wanted)) == 1


def test_the_policy_lets_out_to_the_gateways_pods_only_whatever_port_the_service_has() -> None:
    spec = inside.policy(an_environment(gateway={"port": 80}))["spec"]
    assert spec["egress"] == [
        {
            "to": [{"podSelector": {"matchLabels": {"app": "llm-gateway"}}}],
            "ports": [{"protocol": "TCP", "port": inside.GATEWAY_PORT}],
        }
    ]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec


class OneService:
    """A cluster with a gateway of that address."""

    def __init__(self, address: str | None) -> None:
        self.address = address

    def get(self, *_: str) -> dict[str, Any] | None:
        return {"spec": {"clusterIP": self.address}} if self.address else None


@pytest.mark.parametrize(
    ("address", "url"),
    [("10.96.0.5", "http://10.96.0.5:8080/llama/v1"), ("fd00::5", "http://[fd00::5]:8080/llama/v1")],
)
def test_the_gateway_is_asked_by_its_cluster_ip(address: str, url: str) -> None:
    cluster: Any = OneService(address)
    assert inside.asked_at(cluster, an_environment(), "llama")["base_url"] == url


def test_without_a_gateway_there_is_nothing_to_ask() -> None:
    nothing: Any = OneService(None)
    with pytest.raises(ClusterError, match="has no cluster IP"):
        inside.asked_at(nothing, an_environment(), "llama")

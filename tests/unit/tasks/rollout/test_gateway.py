from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate
import pytest

from tasks.cloud.objects import is_complete
from tasks.records.errors import InputError
from tasks.rollout.gateway import check_aliases, documents, routes
from tasks.rollout.served_names import served_names
from tests.support.builders import ROOT, a_model, an_environment


def made(routes: dict[str, str] | None = None, **environment: Any) -> dict[str, dict[str, Any]]:
    return {d["kind"]: d for d in documents(ROOT, an_environment(**environment), routes or {})}


def configuration(found: dict[str, dict[str, Any]]) -> str:
    digest: str = found["Deployment"]["spec"]["template"]["metadata"]["annotations"][
        "slipway.dev/configuration"
    ]
    return digest


def test_a_models_route_leads_to_its_own_service() -> None:
    files = routes(ROOT, a_model(name="tiny"), an_environment(namespace="models"))
    assert sorted(files) == ["tiny.conf", "tiny.json", "tiny.upstream"]
    assert "location /tiny/v1/ {" in files["tiny.conf"]
    assert "proxy_pass http://vllm-tiny/v1/;" in files["tiny.conf"]
    assert "upstream vllm-tiny {" in files["tiny.upstream"]
    assert "server vllm-tiny.models.svc.cluster.local:8000" in files["tiny.upstream"]
    assert not any(word in text for text in files.values() for word in ("MODEL", "NAMESPACE"))


def test_a_route_asks_for_the_key_and_passes_streams_as_they_come() -> None:
    text = routes(ROOT, a_model(), an_environment())["llama.conf"]
    assert text.index("return 401 $refusal;") < text.index("proxy_pass")
    assert text.count("{") == text.count("}")
    assert "proxy_buffering off;" in made()["ConfigMap"]["data"]["nginx.conf"]


def test_a_request_that_was_sent_is_never_sent_twice_and_no_connection_outlives_its_request() -> None:
    text = made()["ConfigMap"]["data"]["nginx.conf"]
    assert "proxy_next_upstream error;" in text
    assert "non_idempotent;" not in text
    assert "proxy_set_header Connection close;" in text


def test_the_gateways_documents_are_valid() -> None:
    for document in documents(ROOT, an_environment(), {"a.conf": "x"}):
        if document["kind"] != "PodMonitor":
            kubernetes_validate.validate(document, "1.33", strict=True)


def test_only_prometheus_reads_the_gateways_metrics() -> None:
    prometheus = {
        "service": "prom",
        "namespace": "watch",
        "pod_labels": {"app": "prom"},
        "monitor_labels": {"team": "ml"},
    }
    found = made(existing={"prometheus": prometheus}, scrape_interval="30s")
    ports = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    port = next(each["containerPort"] for each in ports if each["name"] == "metrics")
    (rule,) = (each for each in found["NetworkPolicy"]["spec"]["ingress"] if each["ports"][0]["port"] == port)
    (scraper,) = rule["from"]
    assert scraper["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "watch"}
    assert scraper["podSelector"]["matchLabels"] == {"app": "prom"}
    assert found["PodMonitor"]["metadata"]["labels"] == {"team": "ml"}
    assert found["PodMonitor"]["spec"]["podMetricsEndpoints"] == [
        {"port": "metrics", "path": "/metrics", "interval": "30s"}
    ]
    assert f"listen {port};" in found["ConfigMap"]["data"]["nginx.conf"]
    assert port not in {each["port"] for each in found["Service"]["spec"]["ports"]}


def test_the_gateway_is_completed_from_the_environment() -> None:
    found = made(
        namespace="models",
        gateway={
            "image": "nginx:x",
            "replicas": 3,
            "port": 80,
            "scheme": "internet-facing",
            "clients": ["198.51.100.0/24"],
        },
        cluster={"vpc_cidr": "10.64.0.0/16"},
    )
    assert {document["metadata"]["namespace"] for document in found.values()} == {"models"}
    spec = found["Deployment"]["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (3, "nginx:x")
    assert found["Service"]["spec"]["ports"][0]["port"] == 80
    annotations = found["Service"]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-scheme"] == "internet-facing"
    allowed = found["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    assert allowed == [{"ipBlock": {"cidr": "10.64.0.0/16"}}]


def test_only_the_vpc_or_the_clients_that_are_named_may_ask() -> None:
    inside = made(cluster={"vpc_cidr": "10.64.0.0/16"})["Service"]["spec"]
    assert inside["loadBalancerSourceRanges"] == ["10.64.0.0/16"]
    named = made(gateway={"clients": ["10.9.0.0/16"]})["Service"]["spec"]
    assert named["loadBalancerSourceRanges"] == ["10.9.0.0/16"]
    with pytest.raises(ValueError, match="clients must name the networks"):
        made(gateway={"scheme": "internet-facing"})


def test_another_route_rolls_the_gateway_out_and_the_same_one_does_not() -> None:
    assert configuration(made({"a.conf": "1"})) == configuration(made({"a.conf": "1"}))
    assert configuration(made({"a.conf": "1"})) != configuration(made({"a.conf": "2"}))
    assert configuration(made({"a.conf": "1"})) != configuration(made({"b.conf": "1"}))


def test_nginx_writes_to_the_writable_volume_only() -> None:
    """Its root is read-only; what is not set goes to /var/cache/nginx and /run, compiled into the image's nginx."""
    found = made()
    spec = found["Deployment"]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    empty = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
    writable = tuple(m["mountPath"] + "/" for m in container["volumeMounts"] if m["name"] in empty)
    written = dict(
        re.findall(r"^\s*(\w+_temp_path|pid) (\S+);$", found["ConfigMap"]["data"]["nginx.conf"], re.MULTILINE)
    )
    kinds = {f"{kind}_temp_path" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")}
    assert set(written) == kinds | {"pid"}
    assert [path for path in written.values() if not path.startswith(writable)] == []


def test_the_order_of_the_routes_does_not_matter() -> None:
    assert configuration(made({"a": "1", "b": "2"})) == configuration(made({"b": "2", "a": "1"}))


def test_no_key_is_in_any_document() -> None:
    assert "Secret" not in made()


def workload(**status: int) -> dict[str, Any]:
    done = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": done | status}


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (workload(), True),
        (workload(observedGeneration=3), True),
        (workload(observedGeneration=1), False),  # the controller has not looked yet
        (workload(updatedReplicas=0), False),
        (workload(availableReplicas=0), False),
        (workload(replicas=2), False),  # the old pod is still there
        ({"metadata": {"generation": 1}, "spec": {}, "status": {}}, False),
        ({}, False),
    ],
)
def test_a_deployment_is_complete_when_only_its_latest_pods_are_there_and_available(
    found: dict[str, Any], complete: bool
) -> None:
    assert is_complete(found) is complete


def test_the_gateway_of_a_network_that_exists_names_its_subnets_and_lets_all_its_ranges_in() -> None:
    found = made(
        existing={"subnets": ["subnet-a", "subnet-b"], "address_ranges": ["10.1.0.0/16", "100.64.0.0/16"]}
    )
    annotations = found["Service"]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-subnets"] == "subnet-a,subnet-b"
    allowed = found["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    assert allowed == [{"ipBlock": {"cidr": "10.1.0.0/16"}}, {"ipBlock": {"cidr": "100.64.0.0/16"}}]


def test_a_public_gateway_finds_its_subnets_itself() -> None:
    public = {"scheme": "internet-facing", "clients": ["203.0.113.0/24"]}
    found = made(existing={"subnets": ["subnet-a"]}, gateway=public)
    assert not any(key.endswith("-subnets") for key in found["Service"]["metadata"]["annotations"])


class Holding:
    """A cluster whose ConfigMap of routes has this data."""

    def __init__(self, data: dict[str, str]) -> None:
        self.data = data

    def get(self, *of: object) -> dict[str, Any]:
        return {"data": self.data}


def test_a_request_may_ask_for_every_model_by_its_name_and_its_aliases() -> None:
    where = an_environment(gateway={"aliases": {"default": "a"}})
    files = routes(ROOT, a_model(name="a", aliases=["fast"]), where) | routes(ROOT, a_model(name="b"), where)
    assert served_names(files) == {"a": "a", "b": "b", "default": "a", "fast": "a"}
    data = made(files)["ConfigMap"]["data"]
    assert json.loads(data["models.json"]) == served_names(files)
    assert data["gate.js"] == (ROOT / "k8s/gateway/gate.js").read_text()


def test_an_adapter_leads_to_its_model_and_keeps_its_name() -> None:
    adapted = a_model(name="a", engine={"lora": [{"name": "polite", "repo": "acme/polite"}]})
    files = routes(ROOT, adapted, an_environment()) | routes(ROOT, a_model(name="b"), an_environment())
    assert served_names(files) == {"a": "a", "b": "b", "polite": "a"}
    data = made(files)["ConfigMap"]["data"]
    assert json.loads(data["adapters.json"]) == {"polite": True}
    there: Any = Holding(files)
    with pytest.raises(InputError, match="polite leads to a in"):
        check_aliases(there, a_model(name="polite"), an_environment())


def test_an_alias_that_another_model_serves_by_is_refused_before_anything_moves() -> None:
    where = an_environment()
    there: Any = Holding(routes(ROOT, a_model(name="a", aliases=["fast"]), where))
    check_aliases(there, a_model(name="a", aliases=["fast", "more"]), where)
    for other in (
        a_model(name="b", aliases=["fast"]),
        a_model(name="fast"),
        a_model(name="b", aliases=["a"]),
    ):
        with pytest.raises(InputError, match="leads to a in"):
            check_aliases(there, other, where)


def test_what_the_gate_does_not_let_in_by_name_is_refused() -> None:
    """An exception in gate.js leaves the variable empty."""
    found = made(routes(ROOT, a_model(), an_environment()))["ConfigMap"]["data"]["nginx.conf"]
    paths = routes(ROOT, a_model(), an_environment())["llama.conf"]
    for text in (found, paths):
        assert re.search(r"if \(\$access != 200\) \{\s+return 401 \$refusal;", text)
        assert "$access = 401" not in text

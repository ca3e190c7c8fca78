"""The holder is there only where a model may sleep, and may do what a wake does and nothing else."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from tasks.cloud.kubernetes import Object
from tasks.cloud.waiting import Time
from tasks.holding.waking import ClusterWaker
from tasks.records.environment import Environment
from tasks.records.errors import InputError, RolloutFailed
from tasks.records.hold import HolderSettings
from tasks.rollout import gateway, holder
from tests.support.builders import ROOT, a_model, an_environment, merged
from tests.support.canned import CannedCluster
from tests.support.clock import Clock

IMAGE = f"registry.example/slipway@sha256:{'5' * 64}"
SLEEPS = a_model(name="tiny", scaling={"scale_to_zero": True}, load={"rate": 7.0})


def where(**over: Any) -> Environment:
    base = {"cluster": {"gpu": {"provisioner": "karpenter"}}, "gateway": {"holder": {"image": IMAGE}}}
    return an_environment(**merged(base, over))


def made(**over: Any) -> dict[str, Object]:
    environment = where(**over)
    models = holder.held_models(gateway.routes(ROOT, SLEEPS, environment))
    found = holder.documents(ROOT, environment, models)
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def test_without_a_model_that_sleeps_there_is_nothing_new() -> None:
    routes = gateway.routes(ROOT, a_model(), an_environment())
    assert sorted(routes) == ["llama.conf", "llama.json", "llama.upstream"]
    assert not any("holder" in text or "held" in text for text in routes.values())
    assert holder.documents(ROOT, an_environment(), holder.held_models(routes)) == []
    [configuration] = [d for d in gateway.documents(ROOT, where(), routes) if d["kind"] == "ConfigMap"]
    assert holder.held_models(routes) == {}
    assert gateway.HELD not in configuration["data"]


def test_the_route_of_a_model_that_sleeps_leads_to_the_holder_where_no_pod_takes_the_connection() -> None:
    routes = gateway.routes(ROOT, SLEEPS, where(namespace="models"))
    servers = [line.split()[1:] for line in routes["tiny.upstream"].splitlines() if "server " in line]
    assert [words[0] for words in servers] == [
        "vllm-tiny.models.svc.cluster.local:8000",
        "vllm-tiny.models.svc.cluster.local:8000",
        "llm-holder.models.svc.cluster.local:8080",
    ]
    assert servers[2][-1] == "backup;"
    assert routes["tiny.conf"].count("proxy_set_header X-Slipway-Model tiny;") == 3
    held = (ROOT / "k8s/gateway/held.conf").read_text()
    # three upstreams are tried, and one that has a POST is the last, as in the other routes
    assert "proxy_next_upstream_tries 3;" in held
    assert "non_idempotent" not in held.replace("without non_idempotent", "")
    assert not any(word in text for text in routes.values() for word in ("MODEL", "NAMESPACE"))


def test_headers_of_a_held_route_are_the_servers_own_and_one_more() -> None:
    """NGINX inherits none of them where one is set (proxy_set_header)."""
    server = (ROOT / "k8s/gateway/configmap.yaml").read_text()
    held = (ROOT / "k8s/gateway/held.conf").read_text()
    wanted = [line.strip() for line in server.splitlines() if "proxy_set_header" in line]
    assert len(wanted) == 3
    assert all(line in held for line in wanted)
    assert "include /etc/nginx/engine/engine.conf;" in held


def test_its_documents_are_valid_and_in_the_namespace() -> None:
    for document in made(namespace="models").values():
        kubernetes_validate.validate(document, "1.33", strict=True)
        assert document["metadata"]["namespace"] == "models"


def test_it_is_told_its_models_and_bounds() -> None:
    found = made(gateway={"holder": {"heartbeat": "5s", "requests": 9, "body_memory": "32Mi", "ramp": "3s"}})
    settings = HolderSettings.model_validate_json(
        found["ConfigMap llm-holder"]["data"]["settings.json"]
    ).model_dump()
    assert settings["models"] == {"tiny": {"rate": 7.0, "slots": 128, "replicas": 1, "others": ()}}
    assert (settings["heartbeat"], settings["requests"], settings["body_bytes"], settings["ramp"]) == (
        5.0,
        9,
        32 * 2**20,
        3.0,
    )


def test_its_memory_grows_with_the_bodies_it_may_hold() -> None:
    def memory(bodies: str) -> str:
        found = made(gateway={"holder": {"body_memory": bodies}})["Deployment llm-holder"]
        resources = found["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        return str(resources["limits"]["memory"])

    assert (memory("64Mi"), memory("256Mi")) == ("384Mi", "768Mi")


def test_other_settings_roll_it_out() -> None:
    def digest(**over: Any) -> Any:
        template = made(gateway={"holder": over})["Deployment llm-holder"]["spec"]["template"]
        return template["metadata"]["annotations"]

    assert digest() == digest()
    assert digest(heartbeat="3s") != digest()


@pytest.mark.parametrize(
    ("over", "cause", "command"),
    [
        ({"gateway": {"holder": {"image": None}}}, "names no image for the holder", "gateway.holder.image"),
        (
            {"cluster": {"gpu": {"provisioner": "node-group"}}},
            "are a node group",
            "gateway.holder.wake: flow",
        ),
    ],
)
def test_where_it_could_not_work_a_deploy_is_refused(over: Any, cause: str, command: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        made(**over)
    assert command in str(caught.value.next_command)


def test_with_a_node_group_the_wake_is_a_run_of_the_flow() -> None:
    holding = {
        "wake": "flow",
        "prefect_api_url": "http://prefect.example:4200/api",
        "prefect_secret": "prefect",
    }
    found = made(cluster={"gpu": {"provisioner": "node-group"}}, gateway={"holder": holding})
    [container] = found["Deployment llm-holder"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "prefect", "key": "authorization"} in [
        (one.get("valueFrom") or {}).get("secretKeyRef") for one in container["env"]
    ]
    egress = found["NetworkPolicy llm-holder"]["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 4200}]} in egress


@pytest.mark.parametrize(
    "given",
    [
        {"wake": "flow"},
        {"prefect_api_url": "http://prefect:4200/api"},
        {"heartbeat": "16s"},
        {"body_memory": "15Mi"},
        {"image": "registry.example/slipway:latest"},
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="holder"):
        where(gateway={"holder": given})


PLURALS = {
    "EndpointSlice": ("discovery.k8s.io", "endpointslices"),
    "Deployment": ("apps", "deployments"),
    "ScaledObject": ("keda.sh", "scaledobjects"),
}


class Guarded:
    """A cluster that lets through what the Role allows, and counts what was used of it."""

    def __init__(self, role: Object) -> None:
        self.rules = [
            (group, resource, verb, rule.get("resourceNames"))
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        ]
        self.used: set[tuple[str, str, str]] = set()

    def _check(self, kind: str, verb: str, name: str, subresource: str | None = None) -> None:
        group, resource = PLURALS[kind]
        resource += f"/{subresource}" if subresource else ""
        allowed = [r for r in self.rules if r[:3] == (group, resource, verb)]
        assert any(names is None or name in names for *_, names in allowed), (resource, verb, name)
        self.used.add((group, resource, verb))

    def get(self, api: str, kind: str, name: str, namespace: str) -> Any:
        self._check(kind, "get", name)
        notes = {"autoscaling.keda.sh/paused-replicas": "0"}
        return {"metadata": {"name": name, "annotations": notes}, "spec": {"replicas": 0}}

    def list(self, api: str, kind: str, namespace: str, label_selector: str = "") -> Any:
        self._check(kind, "list", "")
        return []

    def patch(
        self, api: str, kind: str, name: str, body: Any, namespace: str, subresource: str | None = None
    ) -> Any:
        self._check(kind, "patch", name, subresource)
        return {}


def test_its_role_allows_what_a_wake_does_and_nothing_else() -> None:
    role = made()["Role llm-holder"]
    cluster: Any = Guarded(role)
    waker = ClusterWaker(cluster, "llm", lambda: 0.0)
    waker.look("tiny")
    waker.wake("tiny", 1)
    waker.first_token("tiny")
    assert {rule[:3] for rule in cluster.rules} == cluster.used
    with pytest.raises(AssertionError):
        waker.wake("another", 1)


READY = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def in_the_cluster(status: dict[str, Any]) -> Any:
    pod = {"kind": "Pod", "metadata": {"name": "llm-holder-x", "labels": {"app": "llm-holder"}}}
    workload = {"kind": "Deployment", "metadata": {"name": "llm-holder", "generation": 1}}
    spec = {"spec": {"replicas": 1}, "status": status}
    return CannedCluster(workload | spec, pod, events=["Warning Failed: ErrImagePull"], log="no module")


def test_a_deploy_waits_for_the_holder(clock: Clock) -> None:
    time = Time(clock, clock.sleep)
    holder.wait_until_ready(in_the_cluster(READY), where(), time)
    with pytest.raises(RolloutFailed, match="does not become ready") as caught:
        holder.wait_until_ready(in_the_cluster({**READY, "availableReplicas": 0}), where(), time)
    assert caught.value.evidence == ("Warning Failed: ErrImagePull", "no module")


def test_the_routes_file_says_that_a_model_is_held() -> None:
    told = json.loads(gateway.routes(ROOT, SLEEPS, where())["tiny.json"])
    assert told["held"] == {"rate": 7.0, "slots": 128, "replicas": 1, "others": []}


def test_an_adapter_is_a_name_that_requests_may_use() -> None:
    lora = [{"name": "tuned", "repo": "acme/tuned"}]
    told = holder.held(a_model(scaling={"scale_to_zero": True}, engine={"lora": lora}))
    assert told
    assert told.others == ("tuned",)

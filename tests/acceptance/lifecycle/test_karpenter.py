"""Nodes come because pods ask: a deploy, load, idleness, a wake and a teardown in an environment with Karpenter."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tests.support.callers import calling
from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "elastic"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
# the first is the cheaper one
FIRST, SECOND = "g6.2xlarge", "g5.2xlarge"
PATIENCE = 180.0
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """tiny-llama in an environment of its own: one replica, and room for two on nodes of one GPU."""
    gpu = {"provisioner": "karpenter", "max": 2, "consolidate_after": "6s", "instance_type": FIRST}
    another_environment(project, WHERE, gpu | {"alternative_types": [SECOND]})
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(
        file, {"scaling": {"min_replicas": 1, "max_replicas": 2, "cooldown": "5s", "requests_per_replica": 1}}
    )
    try:
        yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    finally:
        file.write_text(before)
        if CLUSTER in project.client("eks").list_clusters()["clusters"]:
            project.run(*TEARDOWN)


def get(project: Project, path: str, **query: str) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def gpu_nodes(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(project, "/api/v1/nodes", labelSelector="workload=inference-gpu")[
        "items"
    ]
    return found


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


def test_the_node_was_made_for_a_pod(project: Project, deployed: Done) -> None:
    assert "asking Karpenter for nodes for 1 replica" in deployed.output
    (node,) = gpu_nodes(project)
    labels = node["metadata"]["labels"]
    assert labels["karpenter.sh/nodepool"] == "slipway-gpu"
    assert labels["node.kubernetes.io/instance-type"] == FIRST
    assert labels["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"
    assert [(t["key"], t["value"]) for t in node["spec"]["taints"]] == [("nvidia.com/gpu", "true")]
    groups = project.client("eks").list_nodegroups(clusterName=CLUSTER)["nodegroups"]
    assert groups == ["system"]


def pods(project: Project) -> list[dict[str, Any]]:
    """The serving pods that stay."""
    path, model = f"/api/v1/namespaces/{NAMESPACE}/pods", f"slipway.dev/model={MODEL}"
    found = get(project, path, labelSelector=model)["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def key(project: Project) -> str:
    secret = get(project, f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    return base64.b64decode(secret["data"][KEY_ENTRY]).decode()


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def answered(project: Project, pod: dict[str, Any]) -> float:
    """Requests that one pod has finished, as Prometheus has them."""
    query = f'sum(vllm:request_success_total{{pod="{pod["metadata"]["name"]}"}})'
    path = "/api/v1/namespaces/monitoring/services/kube-prometheus-stack-prometheus:9090/proxy/api/v1/query"
    found = get(project, path, query=query)["data"]["result"]
    return sum(float(series["value"][1]) for series in found)


def test_load_brings_a_second_node_and_its_end_takes_it_away(project: Project, deployed: Done) -> None:
    (first,) = pods(project)
    (endpoint,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
    with calling(endpoint, key(project), MODEL) as callers:
        until(lambda: len(pods(project)) == 2, "KEDA asks for a second replica")
        until(lambda: len(gpu_nodes(project)) == 2, "Karpenter makes a second node")
        until(lambda: all(map(is_ready, pods(project))), "the second replica is Ready")
        (second,) = [pod for pod in pods(project) if pod["metadata"]["name"] != first["metadata"]["name"]]
        assert second["spec"]["nodeName"] != first["spec"]["nodeName"]
        # its start-up probe has asked for a few
        until(lambda: answered(project, second) > 10, "the second replica takes traffic")
    until(lambda: len(pods(project)) == 1, "one replica again")
    until(lambda: len(gpu_nodes(project)) == 1, "the second node is gone")
    assert callers.failures == []
    events = get(project, "/api/v1/namespaces/default/events")["items"]
    assert "Disrupting NodeClaim: Empty" in {event["message"] for event in events}


def fall_asleep(project: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", WHERE).succeeded().output:
        assert time.monotonic() < end, "never idle"


@pytest.mark.usefixtures("deployed")
def test_asleep_there_is_no_node_and_a_wake_takes_the_type_that_ec2_has(
    project: Project, faults: Faults
) -> None:
    fall_asleep(project)
    assert (gpu_nodes(project), get(project, CLAIMS)["items"]) == ([], [])
    faults.set("capacity", target=FIRST)
    woken = project.run("wake", MODEL, "-e", WHERE).succeeded()
    assert "asking Karpenter for nodes for 1 replica" in woken.output
    (node,) = gpu_nodes(project)
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == SECOND


@pytest.mark.usefixtures("deployed")
def test_where_ec2_has_no_type_at_all_the_wake_says_so_before_its_deadline(
    project: Project, faults: Faults
) -> None:
    fall_asleep(project)
    for kind in (FIRST, SECOND):
        faults.set("capacity", target=kind)
    project.run("wake", MODEL, "-e", WHERE).refused(
        1,
        "error: no GPU node comes: EC2 has no capacity for what cluster.gpu allows",
        f"InsufficientInstanceCapacity: We currently do not have sufficient {SECOND} capacity",
        "next: .*cluster.gpu.alternative_types",
    )
    jobs = get(project, "/apis/batch/v1/namespaces/kube-system/jobs")["items"]
    assert jobs == []


@pytest.mark.usefixtures("deployed")
def test_nothing_is_left_of_it(project: Project) -> None:
    assert "nothing is left" in project.run(*TEARDOWN).succeeded().output
    mine = [{"Name": "tag:slipway:environment", "Values": [WHERE]}]
    reservations = project.client("ec2").describe_instances(Filters=mine)["Reservations"]
    states = {i["State"]["Name"] for r in reservations for i in r["Instances"]}
    assert states == {"terminated"}
    assert "QueueUrls" not in project.client("sqs").list_queues()
    assert project.client("events").list_rules()["Rules"] == []
    assert project.client("iam").list_instance_profiles()["InstanceProfiles"] == []

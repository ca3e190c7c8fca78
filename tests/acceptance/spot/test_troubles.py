"""What goes wrong with capacity between runs: `slipway status` tells it with the next command, and the model keeps on serving."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import yaml
from slipway_sandbox.testing import Faults

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tests.support.callers import calling
from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "troubled"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
RULE, ROLE = f"{CLUSTER}-karpenter-spot", f"{CLUSTER}-karpenter-node"
PATIENCE = 90.0
# a pod as large as a replica, of somebody else's
PENDING = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "other"},
    "spec": {
        "nodeSelector": {"workload": "inference-gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "containers": [
            {
                "name": "c",
                "image": "registry.k8s.io/pause:3.10",
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
            }
        ],
    },
}
SECOND_HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "by-hand"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD},
        "minReplicas": 1,
        "maxReplicas": 2,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """One replica on a node of one GPU, and room for two; a little load asks for the second."""
    gpu = {
        "provisioner": "karpenter",
        "capacity_type": "SPOT_OR_ON_DEMAND",
        "instance_type": "g6.xlarge",
        "max": 2,
        "consolidate_after": "5s",
    }
    another_environment(project, WHERE, gpu)
    scaling = {"min_replicas": 1, "max_replicas": 2, "requests_per_replica": 1, "cooldown": "5s"}
    edit(project.home / "models" / f"{MODEL}.yaml", {"scaling": scaling})
    yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    project.run("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete").succeeded()


def send(project: Project, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.request(method, path, json=body, headers={"Content-Type": kind})
    answer.raise_for_status()
    return answer.json()


def told(project: Project, *said: str) -> None:
    """`slipway status` says all of it, if not at once then soon."""
    end = time.monotonic() + PATIENCE
    while True:
        output = project.run("status", "-e", WHERE).succeeded().output
        missing = [line for line in said if not re.search(line, output)]
        if not missing:
            return
        assert time.monotonic() < end, (missing, output)


def address(deployed: Done) -> str:
    (endpoint,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
    return str(endpoint)


def key_of(project: Project) -> str:
    secret = send(project, "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    return base64.b64decode(secret["data"][KEY_ENTRY]).decode()


def serves(project: Project, deployed: Done) -> bool:
    """Whether the model answers through the gateway."""
    body, headers = (
        {"model": MODEL, "prompt": "Hello", "max_tokens": 4},
        {"Authorization": f"Bearer {key_of(project)}"},
    )
    return httpx.post(f"{address(deployed)}/completions", json=body, headers=headers).status_code == 200


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.3)


@contextmanager
def edited(project: Project, gpu: dict[str, Any], scaling: dict[str, Any]) -> Iterator[None]:
    """Both files with other values, and as they were afterwards."""
    files = [project.home / "environments" / f"{WHERE}.yaml", project.home / "models" / f"{MODEL}.yaml"]
    before = [file.read_text() for file in files]
    document = yaml.safe_load(before[0])
    document["cluster"]["gpu"] |= gpu
    files[0].write_text(yaml.safe_dump(document, sort_keys=False))
    edit(files[1], {"scaling": scaling})
    try:
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


def replicas(project: Project) -> int:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
    return int(send(project, "GET", path)["spec"]["replicas"])


def test_a_healthy_environment_has_no_trouble(project: Project, deployed: Done) -> None:
    end = time.monotonic() + PATIENCE
    while "status:" in (output := project.run("status", "-e", WHERE).succeeded().output):
        assert time.monotonic() < end, output
    assert serves(project, deployed)


def ready(project: Project) -> int:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
    return int(send(project, "GET", path)["status"].get("readyReplicas", 0))


def gpu_nodes(project: Project) -> int:
    return len(send(project, "GET", "/api/v1/nodes?labelSelector=workload%3Dinference-gpu")["items"])


def test_metrics_that_are_gone_while_scaled_up_leave_the_replicas_and_are_told(
    project: Project, deployed: Done, faults: Faults
) -> None:
    with calling(address(deployed), key_of(project), MODEL) as callers:
        until(lambda: ready(project) == 2, "load brings no second replica")
        faults.set("metrics-down")
        said = rf"{MODEL}: (KEDA does not call|the HPA .* gets no demand).*it serves with 2 replica"
        told(project, said, r"next: kubectl -n")
    # nobody asks any more, and nothing says so
    told(project, said)
    assert replicas(project) == 2
    assert serves(project, deployed)
    faults.clear()
    until(lambda: replicas(project) == 1 and gpu_nodes(project) == 1, "the second replica or its node stays")
    assert callers.failures == []


def test_a_second_scaler_is_named_with_the_command_that_ends_it(project: Project, deployed: Done) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
    send(project, "POST", path, SECOND_HPA)
    told(
        project,
        rf"{MODEL}: by-hand scales the Deployment {WORKLOAD} beside KEDA; it serves with",
        rf"next: kubectl -n {NAMESPACE} delete horizontalpodautoscaler by-hand",
    )
    assert serves(project, deployed)
    send(project, "DELETE", f"{path}/by-hand")


def test_a_node_pool_at_its_limit_is_told_with_the_pods_that_wait(project: Project, deployed: Done) -> None:
    limits = {"spec": {"limits": {"nodes": "1", "nvidia.com/gpu": "1"}}}
    pool = "/apis/karpenter.sh/v1/nodepools/slipway-gpu"
    send(project, "PATCH", pool, limits, "application/merge-patch+json")
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    send(project, "POST", pods, PENDING)
    told(
        project,
        r"GPU nodes: no GPU node comes: the NodePool is at its limit, cluster\.gpu\.max; other wait",
        rf"next: raise cluster\.gpu\.max in environments/{WHERE}\.yaml",
    )
    assert serves(project, deployed)
    send(project, "DELETE", f"{pods}/other")


def test_a_queue_that_nobody_fills_is_told(project: Project, deployed: Done) -> None:
    events = project.client("events")
    targets = events.list_targets_by_rule(Rule=RULE)["Targets"]
    events.remove_targets(Rule=RULE, Ids=[target["Id"] for target in targets])
    told(
        project,
        r"spot: no notice of a spot interruption reaches Karpenter",
        rf"the EventBridge rule {RULE} does not send to the queue {CLUSTER}-karpenter",
        rf"next: slipway drift -e {WHERE}",
    )
    assert "aws_cloudwatch_event_target" in project.run("drift", "-e", WHERE).output
    assert serves(project, deployed)


def test_a_quota_too_small_for_the_most_replicas_is_told_with_what_it_allows(project: Project) -> None:
    with edited(project, {"max": 20}, {"max_replicas": 20}):
        said = project.run("preflight", MODEL, "-e", WHERE).succeeded().output
    assert "1 to 20 of 20 g6.xlarge for 1 to 20 replicas; the vCPU quota allows 16" in said
    assert "request 80 vCPUs of L-" in said


def test_a_type_that_no_zone_offers_is_refused_before_anything_is_touched(project: Project) -> None:
    with edited(project, {"instance_type": "p5e.48xlarge"}, {}):
        project.run("deploy", MODEL, "-e", WHERE).refused(
            3, "p5e.48xlarge is not offered in us-east-1", "next: take another instance type or region"
        )


def test_a_drain_that_a_budget_holds_is_told_and_goes_on_without_it(project: Project, deployed: Done) -> None:
    budgets = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "vllm"}}}
    send(project, "POST", budgets, {"metadata": {"name": "by-hand"}, "spec": spec})
    listed = send(project, "GET", "/api/v1/nodes?labelSelector=workload%3Dinference-gpu")["items"]
    (node,) = [each["metadata"]["name"] for each in listed]
    send(project, "DELETE", f"/api/v1/nodes/{node}")
    told(
        project,
        r"GPU nodes: a GPU node is to go, and a PodDisruptionBudget keeps its pods there",
        rf"pod {NAMESPACE}/{WORKLOAD}-\S+ on {node} waits for the PodDisruptionBudget by-hand: 1 healthy, 1 must stay",
        rf"next: kubectl -n {NAMESPACE} get pdb,pods -o wide",
    )
    assert serves(project, deployed)
    send(project, "DELETE", f"{budgets}/by-hand")
    until(lambda: node not in str(send(project, "GET", "/api/v1/nodes")["items"]), f"{node} does not go")
    until(lambda: serves(project, deployed), "the replica on the next node does not answer")


@pytest.mark.usefixtures("deployed")
def test_karpenter_without_its_nodes_role_ends_a_wake_with_that_cause(project: Project) -> None:
    end = time.monotonic() + PATIENCE
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", WHERE).succeeded().output:
        assert time.monotonic() < end, "never idle"
    iam = project.client("iam")
    for profile in iam.list_instance_profiles_for_role(RoleName=ROLE)["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(
            InstanceProfileName=profile["InstanceProfileName"], RoleName=ROLE
        )
    for policy in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=ROLE, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=ROLE)
    # Karpenter looks again at a class that changed
    changed = {"spec": {"tags": {"looked": "again"}}}
    path = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses/slipway-gpu"
    send(project, "PATCH", path, changed, "application/merge-patch+json")
    project.run("wake", MODEL, "-e", WHERE).refused(
        1,
        "error: no GPU node comes: a role of Karpenter's is missing or may not do it",
        f"next: slipway drift -e {WHERE}; kubectl describe ec2nodeclass slipway-gpu",
    )

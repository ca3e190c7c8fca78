"""What goes wrong with capacity between runs: `slipway status` tells it with the next command, and the model keeps on serving."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from slipway_sandbox.testing import Faults

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
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
    """One replica on the only node that the environment may have; KEDA could ask for two on it by their GPUs."""
    gpu = {
        "provisioner": "karpenter",
        "capacity_type": "SPOT_OR_ON_DEMAND",
        "instance_type": "g6.xlarge",
        "max": 2,
    }
    another_environment(project, WHERE, gpu)
    edit(project.home / "models" / f"{MODEL}.yaml", {"scaling": {"min_replicas": 1, "max_replicas": 2}})
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


def serves(project: Project, deployed: Done) -> bool:
    """Whether the model answers through the gateway."""
    (endpoint,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
    secret = send(project, "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    key = base64.b64decode(secret["data"][KEY_ENTRY]).decode()
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
    answer = httpx.post(f"{endpoint}/completions", json=body, headers={"Authorization": f"Bearer {key}"})
    return answer.status_code == 200


def replicas(project: Project) -> int:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
    return int(send(project, "GET", path)["spec"]["replicas"])


def test_a_healthy_environment_has_no_trouble(project: Project, deployed: Done) -> None:
    end = time.monotonic() + PATIENCE
    while "status:" in (output := project.run("status", "-e", WHERE).succeeded().output):
        assert time.monotonic() < end, output
    assert serves(project, deployed)


def test_metrics_that_are_gone_leave_the_replicas_and_are_told(
    project: Project, deployed: Done, faults: Faults
) -> None:
    before = replicas(project)
    faults.set("metrics-down")
    told(
        project,
        rf"{MODEL}: (KEDA does not call|the HPA .* gets no demand).*it serves with {before} replica",
        r"next: kubectl -n",
    )
    assert replicas(project) == before
    assert serves(project, deployed)


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
    end = time.monotonic() + PATIENCE
    while node in str(send(project, "GET", "/api/v1/nodes")["items"]) or not serves(project, deployed):
        assert time.monotonic() < end, f"{node} does not go"
        time.sleep(0.3)


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

"""Drills: promises that are kept are seen to act; those that would not be, while everything looks healthy, are found with their cause.

Each fault is a patch of a live object, as somebody's kubectl does it, and is taken back afterwards. All of them share one deploy.
"""

from __future__ import annotations

import base64
import copy
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from slipway_sandbox.testing import Faults

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tests.support.commands import Done
from tests.support.drill_faults import BEFORE_LOAD, PATCHED, Fault
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "drilled"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
BROKEN = 4
MERGE = "application/merge-patch+json"
OURS = f"/apis/{{}}/namespaces/{NAMESPACE}"
SCALED = OURS.format("keda.sh/v1alpha1") + f"/scaledobjects/{WORKLOAD}"
MONITOR = OURS.format("monitoring.coreos.com/v1") + "/podmonitors/vllm"
HPAS = OURS.format("autoscaling/v2") + "/horizontalpodautoscalers"
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{WORKLOAD}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
POOL = "/apis/karpenter.sh/v1/nodepools/slipway-gpu"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """tiny-llama in an environment with Karpenter: one replica on a node of one GPU, and room for two."""
    gpu = {"provisioner": "karpenter", "max": 2, "consolidate_after": "5s"}
    another_environment(project, WHERE, gpu, deadlines=DEADLINES)
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    scaling = {"min_replicas": 1, "max_replicas": 2, "cooldown": "5s", "requests_per_replica": 2}
    scaling["scale_down"] = {"replicas": 1, "every": "15s"}
    edit(file, {"scaling": scaling})
    try:
        yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    finally:
        file.write_text(before)
        if CLUSTER in project.client("eks").list_clusters()["clusters"]:
            project.run(*TEARDOWN)


# a fault is waited for this long: no longer than what is healthy needs here on a busy machine
DEADLINES = {
    "terraform": "15m",
    "node_boot": "40s",
    "addon": "60s",
    "volume_bind": "30s",
    "pod_start": "40s",
    "image_pull_mib_s": 1000,
    "drain": "30s",
    "gateway": "15s",
}


def request(
    project: Project, method: str, path: str, body: Any = None, kind: str = "application/json"
) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.request(method, path, json=body, headers={"Content-Type": kind})
    answer.raise_for_status()
    return answer.json()


def drill(project: Project, *words: str) -> Done:
    return project.run("drill", MODEL, "-e", WHERE, *words)


def drilled_when_idle(project: Project, promise: str) -> str:
    """The output of a drill of what interrupts, once the model has been idle for long enough."""
    end = time.monotonic() + 120
    while True:
        said = drill(project, "--promise", promise).succeeded().output
        if f"{promise}: not now" not in said:
            return said
        assert time.monotonic() < end, said


@pytest.mark.usefixtures("deployed")
def test_a_model_that_nobody_uses_sleeps_and_wakes(project: Project) -> None:
    said = drilled_when_idle(project, "wake")
    assert f"{MODEL} in {WHERE}: wake: kept" in said
    assert re.search(r"no replica and no GPU node is left$", said, re.MULTILINE)
    assert len(serving(project)) == len(nodes(project)) == 1
    after = project.run("status", "-e", WHERE).succeeded().output
    assert re.search(r"^  wake: last seen to act 20\d\d-", after, re.MULTILINE)


def test_what_is_promised_is_seen_to_act_and_dated(project: Project, deployed: Done) -> None:
    before = project.run("status", "-e", WHERE).succeeded().output
    assert "scale-out: UNPROVEN: never seen to act" in before
    done = drill(project, "--promise", "scale-out", "--promise", "scale-in").succeeded()
    assert f"{MODEL} in {WHERE}: scale-out: kept" in done.output
    assert f"{MODEL} in {WHERE}: scale-in: kept" in done.output
    assert re.search(r"\d s  it answers requests$", done.output, re.MULTILINE)
    assert re.search(r"\d s  its node is gone$", done.output, re.MULTILINE)
    after = project.run("status", "-e", WHERE).succeeded().output
    assert re.search(r"^  scale-out: last seen to act 20\d\d-", after, re.MULTILINE)
    assert re.search(r"^  scale-in: last seen to act 20\d\d-", after, re.MULTILINE)


PATHS = {"ScaledObject": SCALED, "PodMonitor": MONITOR, "Service": SERVICE, "NodePool": POOL}


@contextmanager
def changed(project: Project, fault: Fault) -> Iterator[None]:
    """The live object with the fault, and as it was afterwards."""
    path = PATHS[fault.kind]
    before = request(project, "GET", path)
    wrong = copy.deepcopy(before)
    fault.change(wrong)
    request(project, "PUT", path, wrong)
    try:
        yield
    finally:
        now = request(project, "GET", path)
        now["spec"] = before["spec"]
        now["metadata"]["annotations"] = before["metadata"].get("annotations", {})
        request(project, "PUT", path, now)


@contextmanager
def made(project: Project, path: str, body: Any) -> Iterator[None]:
    request(project, "POST", path, body)
    try:
        yield
    finally:
        request(project, "DELETE", f"{path}/{body['metadata']['name']}")


@contextmanager
def removed(project: Project, path: str) -> Iterator[None]:
    before = request(project, "GET", path)
    request(project, "DELETE", path)
    for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        before["metadata"].pop(field, None)
    try:
        yield
    finally:
        request(project, "POST", path.rpartition("/")[0], before)


def serving(project: Project) -> list[dict[str, Any]]:
    found = request(project, "GET", f"{PODS}?labelSelector=slipway.dev/model%3D{MODEL}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def until_quiet(project: Project) -> None:
    """One replica, as before the fault: what it kept has gone."""
    end = time.monotonic() + 180
    while len(serving(project)) != 1 or len(nodes(project)) != 1:
        assert time.monotonic() < end, "a second replica or node stays"
        time.sleep(0.5)


def nodes(project: Project) -> list[Any]:
    found: list[Any] = request(project, "GET", "/api/v1/nodes?labelSelector=workload%3Dinference-gpu")[
        "items"
    ]
    return found


def looks_healthy(project: Project, deployed: Done, told: bool) -> None:
    """Every health check there is: status and its troubles, the Deployment's conditions, an answer through the gateway."""
    said = project.run("status", "-e", WHERE).succeeded().output
    assert f"status: {MODEL}: " not in said or told, said
    assert re.search(rf"^{MODEL} +\S+ +1/1 +1 +20", said, re.MULTILINE)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
    conditions = request(project, "GET", path)["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["Available"] == "True"
    (endpoint,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
    secret = request(project, "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    key = base64.b64decode(secret["data"][KEY_ENTRY]).decode()
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
    answer = httpx.post(
        f"{endpoint}/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    assert answer.status_code == 200


def is_found(project: Project, deployed: Done, promise: str, cause: str, told: bool = False) -> None:
    """`told`: status says it as well, for it asks KEDA and its HPA too."""
    looks_healthy(project, deployed, told)
    done = drill(project, "--promise", "scale-out", "--promise", "scale-in").refused(
        BROKEN, rf"error: {MODEL} in {WHERE}: {promise} did not act: "
    )
    said = re.search(r"did not act: (.*)", done.output)
    assert said and re.search(cause, said[1]), done.output
    assert f"  {promise}: BROKEN: " in project.run("status", "-e", WHERE).succeeded().output


@pytest.mark.parametrize("fault", PATCHED, ids=lambda fault: fault.name)
def test_what_no_health_check_sees_a_drill_finds(project: Project, deployed: Done, fault: Fault) -> None:
    until_quiet(project)
    if fault.kind == "Service":
        # somebody's pinned selector: the replica that serves has the label, new ones do not
        label = {"metadata": {"labels": {"slot": "a"}}}
        request(project, "PATCH", f"{PODS}/{serving(project)[0]['metadata']['name']}", label, MERGE)
    with changed(project, fault):
        is_found(project, deployed, fault.promise, fault.cause, fault in BEFORE_LOAD)


@pytest.mark.usefixtures("deployed")
def test_a_prometheus_that_does_not_answer_is_told_in_its_own_words(project: Project, faults: Faults) -> None:
    until_quiet(project)
    faults.set("metrics-down")
    drill(project, "--promise", "scale-out").refused(
        BROKEN,
        f"error: {MODEL} in {WHERE}: scale-out did not act: Prometheus does not answer: KEDA cannot know of load",
        "TSDB not ready",
        "next: kubectl -n monitoring get pods",
    )
    faults.clear()
    end = time.monotonic() + 120
    while "status: " in (said := project.run("status", "-e", WHERE).succeeded().output):
        assert time.monotonic() < end, said


def test_a_second_scaler_is_found(project: Project, deployed: Done) -> None:
    until_quiet(project)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD}
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-cpu"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 2},
    }
    with made(project, HPAS, hpa):
        is_found(project, deployed, "scale-out", f"by-cpu scales the Deployment {WORKLOAD} beside KEDA", True)


def test_a_budget_that_blocks_every_drain_is_found(project: Project, deployed: Done) -> None:
    until_quiet(project)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "nobody-goes"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "vllm"}}},
    }
    with made(project, OURS.format("policy/v1") + "/poddisruptionbudgets", budget):
        is_found(project, deployed, "scale-out", "nobody-goes lets no replica be evicted though 2 run")


def test_clones_without_their_storage_class_are_found(project: Project, deployed: Done) -> None:
    until_quiet(project)
    named = [one["metadata"]["name"] for one in request(project, "GET", CLASSES)["items"]]
    (clones,) = [name for name in named if name.startswith("gp3-clone-")]
    with removed(project, f"{CLASSES}/{clones}"):
        is_found(project, deployed, "scale-out", r"gp3-clone")


def test_new_pods_without_their_secret_are_found(project: Project, deployed: Done) -> None:
    until_quiet(project)
    with removed(project, f"/api/v1/namespaces/{NAMESPACE}/secrets/slipway-api-key"):
        is_found(project, deployed, "scale-out", r"slipway-api-key")


@pytest.mark.usefixtures("deployed")
def test_a_rollback_is_drilled_and_what_served_serves_again(project: Project) -> None:
    until_quiet(project)
    edit(project.home / "models" / f"{MODEL}.yaml", {"engine": {"max_model_len": 1024}})
    second = re.search(
        r"release (\S+) is proven", project.run("deploy", MODEL, "-e", WHERE).succeeded().output
    )
    assert second
    said = drilled_when_idle(project, "rollback")
    assert f"{MODEL} in {WHERE}: rollback: kept" in said
    assert f"release {second[1]} answers again" in said
    status = project.run("status", "-e", WHERE).succeeded().output
    assert re.search(rf"^{MODEL} +{second[1]} +1/1", status, re.MULTILINE)


@pytest.mark.usefixtures("deployed")
def test_nothing_is_left_and_a_drill_after_them_all_is_clean(project: Project) -> None:
    until_quiet(project)
    assert "scale-in: kept" in drill(project).succeeded().output
    assert "nothing is left" in project.run(*TEARDOWN).succeeded().output

"""What the controllers of workloads say and put on what they make: also to be held against a real control plane."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    REVISIONS,
    SERVICE_ACCOUNTS,
    STATEFUL_SETS,
    Object,
    condition_of,
    labels_of,
    name_of,
    status_of,
    uid_of,
)
from tests.controllers.conftest import Cluster, deployment, pod_spec
from tests.controllers.test_workloads import complete

OLDER = {
    "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.9"}]}}}
}
HASH = re.compile(r"[bcdfghjklmnpqrstvwxz2456789]{8,10}")
RANDOM = re.compile(r"[bcdfghjklmnpqrstvwxz2456789]{5}")
NO_ACCOUNT = 'is forbidden: error looking up service account default/nope: serviceaccount "nope" not found'


def owner(api: str, kind: str, item: Object) -> Object:
    reference = {"apiVersion": api, "kind": kind, "name": name_of(item), "uid": uid_of(item)}
    return reference | {"controller": True, "blockOwnerDeletion": True}


def conditions(item: Object) -> list[tuple[str, str, str, str]]:
    return [(c["type"], c["status"], c["reason"], c["message"]) for c in status_of(item)["conditions"]]


def workload(name: str, **spec: Any) -> Object:
    """The metadata and spec a StatefulSet or DaemonSet has at least."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def test_what_a_deployment_makes_carries_its_name_hash_and_revision(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    done = await cluster.until_that(DEPLOYMENTS, "web", complete)
    (made,) = await cluster.all(REPLICA_SETS)
    suffix = labels_of(made)["pod-template-hash"]
    assert HASH.fullmatch(suffix)
    assert made["metadata"]["name"] == f"web-{suffix}"
    assert (
        labels_of(made)
        == made["spec"]["selector"]["matchLabels"]
        == {"app": "web", "pod-template-hash": suffix}
    )
    assert made["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "1",
        "deployment.kubernetes.io/max-replicas": "2",
        "deployment.kubernetes.io/revision": "1",
    }
    assert made["metadata"]["ownerReferences"] == [owner("apps/v1", "Deployment", done)]
    (pod,) = await cluster.all(PODS)
    assert RANDOM.fullmatch(pod["metadata"]["name"].removeprefix(f"web-{suffix}-"))
    assert pod["metadata"]["generateName"] == f"web-{suffix}-"
    assert labels_of(pod) == {"app": "web", "pod-template-hash": suffix}
    assert pod["metadata"]["ownerReferences"] == [owner("apps/v1", "ReplicaSet", made)]
    await cluster.until_said(
        "Deployment",
        (
            "Normal",
            "ScalingReplicaSet",
            "deployment-controller",
            f"Scaled up replica set web-{suffix} from 0 to 1",
        ),
    )
    await cluster.until_said(
        "ReplicaSet", ("Normal", "SuccessfulCreate", "replicaset-controller", f"Created pod: {name_of(pod)}")
    )


async def test_a_complete_deployment_says_available_then_progressing(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    done = await cluster.until_that(DEPLOYMENTS, "web", complete)
    (made,) = await cluster.all(REPLICA_SETS)
    assert conditions(done) == [
        ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        (
            "Progressing", "True", "NewReplicaSetAvailable",
            f'ReplicaSet "{name_of(made)}" has successfully progressed.',
        ),
    ]  # fmt: skip


async def test_a_rollout_that_stands_still_says_since_which_set(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", progressDeadlineSeconds=4))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    cluster.kubelet.ready = False
    await cluster.patch(DEPLOYMENTS, "web", OLDER)
    late = await cluster.until_that(
        DEPLOYMENTS, "web", lambda d: (condition_of(d, "Progressing") or {}).get("status") == "False"
    )
    new = max(
        await cluster.all(REPLICA_SETS),
        key=lambda s: s["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
    )
    assert conditions(late) == [
        ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        ("Progressing", "False", "ProgressDeadlineExceeded", f'ReplicaSet "{name_of(new)}" has timed out progressing.'),
    ]  # fmt: skip
    counts = {name: number for name, number in status_of(late).items() if name.endswith("eplicas") and number}
    assert counts == {
        "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": 1,
    }  # fmt: skip


async def test_an_old_set_changes_its_spec_by_its_size_alone(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    await cluster.patch(DEPLOYMENTS, "web", OLDER)
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    old = next(s for s in await cluster.all(REPLICA_SETS) if not s["spec"]["replicas"])
    assert old["metadata"]["generation"] == 2
    assert "minReadySeconds" not in old["spec"]


async def test_a_pod_that_is_refused_is_told_on_set_and_deployment_and_counted_as_one_event(
    cluster: Cluster,
) -> None:
    await cluster.node("a")
    body = deployment("web")
    body["spec"]["template"]["spec"]["serviceAccountName"] = "nope"
    await cluster.create(DEPLOYMENTS, body)
    failing = await cluster.until_that(DEPLOYMENTS, "web", lambda d: condition_of(d, "ReplicaFailure"))
    (made,) = await cluster.all(REPLICA_SETS)
    # By the prefix: it was refused before it had a name. With one, each refusal would be an event of its own.
    why = f'pods "{name_of(made)}-" {NO_ACCOUNT}'
    assert [c["type"] for c in status_of(failing)["conditions"]] == [
        "Progressing",
        "Available",
        "ReplicaFailure",
    ]
    assert conditions(failing)[2] == ("ReplicaFailure", "True", "FailedCreate", why)
    assert conditions(made) == [("ReplicaFailure", "True", "FailedCreate", why)]

    async def repeated() -> Object | None:
        events = await cluster.events("FailedCreate")
        return events[0] if [e["count"] > 1 for e in events] == [True] else None

    event = await cluster.until(repeated, "one event is counted")
    assert (event["type"], event["reportingComponent"]) == ("Warning", "replicaset-controller")
    assert event["message"] == f"Error creating: {why}"
    await cluster.create(SERVICE_ACCOUNTS, {"metadata": {"name": "nope"}})
    healed = await cluster.until_that(DEPLOYMENTS, "web", complete)
    assert [c["type"] for c in status_of(healed)["conditions"]] == ["Available", "Progressing"]
    await cluster.delete(SERVICE_ACCOUNTS, "nope")


async def test_what_a_stateful_set_makes_is_named_labelled_and_told(cluster: Cluster) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    body = workload(
        "db", serviceName="db", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": spec}]
    )
    body["metadata"]["annotations"] = {"note": "kept"}
    await cluster.create(STATEFUL_SETS, body)
    pod = await cluster.until_that(PODS, "db-0", lambda p: True)
    (revision,) = await cluster.all(REVISIONS)
    made = await cluster.get(STATEFUL_SETS, "db")
    assert made is not None
    suffix = revision["metadata"]["labels"]["controller.kubernetes.io/hash"]
    assert HASH.fullmatch(suffix)
    assert (name_of(revision), revision["revision"]) == (f"db-{suffix}", 1)
    assert labels_of(revision) == {"app": "db", "controller.kubernetes.io/hash": suffix}
    assert revision["metadata"]["annotations"] == {"note": "kept"}
    assert revision["metadata"]["ownerReferences"] == [owner("apps/v1", "StatefulSet", made)]
    assert pod["metadata"]["generateName"] == "db-"
    assert labels_of(pod) == {
        "app": "db",
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": f"db-{suffix}",
        "statefulset.kubernetes.io/pod-name": "db-0",
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-0", "db")
    assert labels_of(await cluster.get(CLAIMS, "data-db-0") or {"metadata": {}}) == {"app": "db"}
    by = "statefulset-controller"
    await cluster.until_said(
        "StatefulSet",
        ("Normal", "SuccessfulCreate", by, "Create Claim data-db-0 Pod db-0 in StatefulSet db success"),
        ("Normal", "SuccessfulCreate", by, "Create Pod db-0 in StatefulSet db successful"),
    )


async def test_a_stateful_set_whose_pod_is_refused_says_so(cluster: Cluster) -> None:
    body = workload("db", serviceName="db")
    body["spec"]["template"]["spec"]["serviceAccountName"] = "nope"
    await cluster.create(STATEFUL_SETS, body)
    why = f'Create Pod db-0 in StatefulSet db failed error: pods "db-0" {NO_ACCOUNT}'
    await cluster.until_said("StatefulSet", ("Warning", "FailedCreate", "statefulset-controller", why))
    told = await cluster.until_that(
        STATEFUL_SETS, "db", lambda s: status_of(s).get("observedGeneration") == 1
    )
    assert {"replicas": 0, "availableReplicas": 0}.items() <= status_of(told).items()
    assert {
        event["type"] for event in await cluster.all(EVENTS) if event["involvedObject"]["name"] == "db"
    } == {"Warning"}


async def test_a_stateful_set_replaces_a_pod_that_failed(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(STATEFUL_SETS, workload("db", serviceName="db"))
    first = await cluster.until_that(PODS, "db-0", lambda p: status_of(p).get("phase") == "Running")
    await cluster.patch(PODS, "db-0", {"status": {"phase": "Failed"}}, "status")
    await cluster.until_that(PODS, "db-0", lambda p: uid_of(p) != uid_of(first))
    why = "Delete Pod db-0 in StatefulSet db successful"
    await cluster.until_said("StatefulSet", ("Normal", "SuccessfulDelete", "statefulset-controller", why))


async def test_a_daemon_pod_carries_its_templates_generation_and_is_told_when_it_goes(
    cluster: Cluster,
) -> None:
    await cluster.node("a")
    await cluster.create(DAEMON_SETS, workload("agent"))
    await cluster.until_that(DAEMON_SETS, "agent", lambda d: status_of(d).get("numberAvailable") == 1)
    (pod,) = await cluster.all(PODS)
    (revision,) = await cluster.all(REVISIONS)
    suffix = labels_of(revision)["controller-revision-hash"]
    assert name_of(revision) == f"agent-{suffix}"
    assert revision["metadata"]["annotations"] == {"deprecated.daemonset.template.generation": "1"}
    assert labels_of(pod) == {
        "app": "agent",
        "controller-revision-hash": suffix,
        "pod-template-generation": "1",
    }
    assert [t["key"].removeprefix("node.kubernetes.io/") for t in pod["spec"]["tolerations"]] == [
        "not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable",
    ]  # fmt: skip
    await cluster.patch(DAEMON_SETS, "agent", OLDER)
    by = "daemonset-controller"
    await cluster.until_said(
        "DaemonSet",
        ("Normal", "SuccessfulCreate", by, f"Created pod: {name_of(pod)}"),
        ("Normal", "SuccessfulDelete", by, f"Deleted pod: {name_of(pod)}"),
    )


@pytest.mark.parametrize(
    ("phase", "kind", "reason", "end"),
    [
        ("Failed", "Warning", "FailedDaemonPod", "will try to kill it"),
        ("Succeeded", "Normal", "SucceededDaemonPod", "will try to delete it"),
    ],
)
async def test_a_daemon_pod_that_ended_is_told_and_replaced(
    cluster: Cluster, phase: str, kind: str, reason: str, end: str
) -> None:
    await cluster.node("a")
    await cluster.create(DAEMON_SETS, workload("agent"))
    await cluster.until_that(DAEMON_SETS, "agent", lambda d: status_of(d).get("numberAvailable") == 1)
    (pod,) = await cluster.all(PODS)
    await cluster.patch(PODS, name_of(pod), {"status": {"phase": phase}}, "status")
    await cluster.until_gone(PODS, name_of(pod))
    why = f"Found {phase.lower()} daemon pod default/{name_of(pod)} on node a, {end}"
    await cluster.until_said("DaemonSet", (kind, reason, "daemonset-controller", why))


async def test_a_daemon_pod_that_is_leaving_counts_as_misscheduled(cluster: Cluster) -> None:
    await cluster.node("a", labels={"pool": "gpu"})
    body = workload("agent")
    body["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "gpu"}
    await cluster.create(DAEMON_SETS, body)
    await cluster.until_that(DAEMON_SETS, "agent", lambda d: status_of(d).get("numberAvailable") == 1)
    cluster.kubelet.linger = True
    node = {"metadata": {"labels": {"pool": None}}}
    await cluster.client.patch("/api/v1/nodes/a", node)
    told = await cluster.until_that(
        DAEMON_SETS, "agent", lambda d: status_of(d)["desiredNumberScheduled"] == 0
    )
    assert status_of(told)["numberMisscheduled"] == 1
    assert status_of(told)["currentNumberScheduled"] == 0

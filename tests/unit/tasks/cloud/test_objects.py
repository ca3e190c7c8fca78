"""Objects as the API server may send them: parts missing, and parts that are null."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tasks.cloud import objects
from tasks.records.errors import ClusterError
from tests.support.builders import an_environment


def a_pod(name: str, phase: str | None, *, terminating: bool = False) -> dict[str, Any]:
    metadata = {"name": name} | ({"deletionTimestamp": "2025-01-01T00:00:00Z"} if terminating else {})
    return {"metadata": metadata, "status": {"phase": phase} if phase else {}}


PODS = [
    a_pod("starts", "Pending"),
    a_pod("new", None),
    a_pod("runs", "Running"),
    a_pod("terminates", "Running", terminating=True),
    a_pod("refused", "Failed"),
    a_pod("done", "Succeeded"),
    a_pod("gone soon", "Succeeded", terminating=True),
]


def test_living_pods_are_those_that_have_not_ended() -> None:
    assert [objects.name(p) for p in objects.living(PODS)] == ["starts", "new", "runs", "terminates"]


def test_a_terminating_pod_lives_and_does_not_stay() -> None:
    assert [objects.name(p) for p in objects.staying(PODS)] == ["starts", "new", "runs"]


@pytest.mark.parametrize(
    "thing", [None, {}, {"metadata": {}}, {"metadata": None, "spec": None, "status": None}]
)
def test_parts_that_are_missing_or_null_are_empty(thing: dict[str, Any] | None) -> None:
    assert objects.spec(thing) == objects.status(thing) == {}
    assert objects.labels(thing) == objects.annotations(thing) == objects.pod_template(thing) == {}
    assert objects.condition(thing, "Ready") == {}
    assert not objects.is_ready(thing)
    assert not objects.is_complete(thing)


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        (None, False),
        ([], False),
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "DiskPressure", "status": "True"}], False),
        ([{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}], True),
    ],
)
def test_ready_is_a_condition_that_is_true(conditions: Any, ready: bool) -> None:
    assert objects.is_ready({"status": {"conditions": conditions}}) is ready


@pytest.mark.parametrize(
    ("statuses", "since"),
    [
        (None, None),
        ([], None),
        ([{"state": None}], None),
        ([{"state": {"waiting": {"reason": "ContainerCreating"}}}], None),
        ([{"state": {"running": {"startedAt": "2025-01-01T00:00:10Z"}}}], "2025-01-01T00:00:10Z"),
        ([{"state": {"terminated": {"exitCode": 1}}}, {"state": {"running": {"startedAt": "x"}}}], None),
    ],
)
def test_a_pod_runs_when_its_first_container_does(statuses: Any, since: str | None) -> None:
    assert objects.running_since({"status": {"containerStatuses": statuses}}) == since


@pytest.mark.parametrize(
    ("containers", "gpus"),
    [
        (None, 0),
        ([{}], 0),
        ([{"resources": {"limits": {"nvidia.com/gpu": "1"}}}], 0),
        ([{"resources": {"requests": {"nvidia.com/gpu": "2"}}}, {"resources": None}], 2),
        ([{"resources": {"requests": {"nvidia.com/gpu": 1}}}] * 2, 2),
    ],
)
def test_gpus_requested_are_summed_over_the_containers(containers: Any, gpus: int) -> None:
    assert objects.gpus_requested({"spec": {"containers": containers}}) == gpus


@pytest.mark.parametrize(("allocatable", "gpus"), [(None, 0), ({}, 0), ({"nvidia.com/gpu": "4"}, 4)])
def test_gpus_allocatable_are_what_the_device_plugin_offers(allocatable: Any, gpus: int) -> None:
    assert objects.gpus_allocatable({"status": {"allocatable": allocatable}}) == gpus


COMPLETE = {"observedGeneration": 3, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("changed", "complete"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"availableReplicas": 1}, False),
    ],
)
def test_a_deployment_is_complete_when_all_of_its_replicas_are_new_and_available(
    changed: dict[str, int], complete: bool
) -> None:
    workload = {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": COMPLETE | changed}
    assert objects.is_complete(workload) is complete


class Listing:
    """A cluster that notes what it is asked for."""

    def __init__(self, secret: dict[str, Any] | None = None) -> None:
        self.secret, self.selectors = secret, list[str]()

    def list(self, api: str, kind: str, *, label_selector: str) -> list[dict[str, Any]]:
        assert (api, kind) == ("v1", "Node")
        self.selectors.append(label_selector)
        return [{"metadata": {"name": "gpu-1"}}]

    def get(self, api: str, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (api, kind, name, namespace) == ("v1", "Secret", "slipway-api-key", "llm")
        return self.secret


def test_gpu_nodes_are_found_by_the_environments_label() -> None:
    cluster: Any = Listing()
    environment = an_environment(cluster={"gpu": {"label_key": "pool", "label_value": "a10g"}})
    assert [objects.name(node) for node in objects.gpu_nodes(cluster, environment)] == ["gpu-1"]
    assert cluster.selectors == ["pool=a10g"]


def test_the_api_key_is_decoded_out_of_its_secret() -> None:
    cluster: Any = Listing({"data": {"api-key": base64.b64encode(b"sk-1").decode()}})
    assert objects.read_key(cluster, "llm", "slipway-api-key") == "sk-1"


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": {"other": "eA=="}}])
def test_a_secret_without_the_key_is_named(secret: dict[str, Any] | None) -> None:
    cluster: Any = Listing(secret)
    with pytest.raises(ClusterError, match="llm/slipway-api-key") as caught:
        objects.read_key(cluster, "llm", "slipway-api-key")
    assert caught.value.next_command == "kubectl -n llm get secret slipway-api-key"

"""The pure decisions, as tables: no server, no clock of their own."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from slipway_sandbox.controllers.controller import Timing
from slipway_sandbox.controllers.deployment import decide_deployment
from slipway_sandbox.controllers.disruption import decide_budget
from slipway_sandbox.controllers.garbage import Owners, decide_dependent
from slipway_sandbox.controllers.job import decide_job
from slipway_sandbox.controllers.node_fit import tolerates
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    PODS,
    Object,
    matches_selector,
    quantity,
    scaled_value,
    timestamp,
)
from slipway_sandbox.controllers.pods import deletion_order, requests
from slipway_sandbox.controllers.rolling import (
    Counts,
    Fences,
    fences,
    new_set_replicas,
    shrink_old_sets,
    spread_scale,
)
from slipway_sandbox.controllers.tainteviction import decide_eviction
from slipway_sandbox.controllers.volumes import decide_claim, decide_volume
from slipway_sandbox.controllers.writes import Create, Delete, Note, Patch, Update
from tests.controllers.builders import CLASS, LATE, NOW, claim, meta, node, pod, volume

READY = [{"type": "Ready", "status": "True", "lastTransitionTime": timestamp(NOW - timedelta(hours=1))}]


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("1Gi", str(2**30)), ("2k", "2000"), ("1e3", "1000"), ("3", "3"), ("1.5Mi", "1572864")],
)
def test_a_quantity_is_read_as_the_api_means_it(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize(("up", "value"), [(True, 1), (False, 0)])
def test_a_percentage_is_rounded_as_asked(up: bool, value: int) -> None:
    assert scaled_value("25%", 3, round_up=up, default=0) == value


def test_an_empty_selector_selects_everything_and_none_nothing() -> None:
    assert matches_selector({}, {"a": "b"})
    assert not matches_selector(None, {"a": "b"})


@pytest.mark.parametrize(
    ("toleration", "covered"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "true"}, True),
        ({"key": "gpu", "value": "other"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "else", "operator": "Exists"}, False),
    ],
)
def test_a_toleration_covers_a_taint(toleration: Object, covered: bool) -> None:
    taint = {"key": "gpu", "value": "true", "effect": "NoSchedule"}
    assert (tolerates([toleration], taint) is not None) is covered


def test_init_containers_raise_the_request_to_their_peak() -> None:
    def container(cpu: str) -> Object:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}}

    spec = {
        "containers": [container("1")],
        "initContainers": [container("500m"), container("3")],
    }
    assert requests({"metadata": meta("p"), "spec": spec})["cpu"] == Decimal("3")


def test_a_limit_alone_is_a_request() -> None:
    spec = {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    assert requests({"metadata": meta("p"), "spec": spec}) == {"nvidia.com/gpu": Decimal(2)}


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 4, Fences(1, 1)),
        ("25%", "25%", 1, Fences(1, 0)),
        (0, 0, 2, Fences(0, 1)),
        (0, 1, 1, Fences(0, 1)),
        ("0%", "100%", 3, Fences(0, 3)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    surge: int | str, unavailable: int | str, replicas: int, expected: Fences
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert fences({"spec": {"replicas": replicas, "strategy": strategy}}) == expected


@pytest.mark.parametrize(
    ("new", "total", "limits", "expected"),
    [
        (0, 3, Fences(1, 0), 1),  # one over
        (1, 4, Fences(1, 0), 1),  # no room
        (0, 3, Fences(0, 1), 0),  # no surge: an old one must go first
        (5, 5, Fences(1, 0), 3),  # too many
    ],
)
def test_the_new_set_grows_within_the_surge(new: int, total: int, limits: Fences, expected: int) -> None:
    assert new_set_replicas(3, limits, new, total, recreate=False) == expected


@pytest.mark.parametrize(
    ("new", "old", "limits", "expected"),
    [
        (Counts("new", 1, 1), [Counts("old", 3, 3)], Fences(1, 0), {"old": 2}),
        (Counts("new", 1, 0), [Counts("old", 3, 3)], Fences(1, 0), {}),  # the new one is not ready
        (Counts("new", 0, 0), [Counts("old", 3, 3)], Fences(0, 1), {"old": 2}),
        (Counts("new", 1, 0), [Counts("old", 3, 1)], Fences(1, 2), {"old": 1}),  # the unhealthy go first
    ],
)
def test_old_sets_shrink_as_availability_allows(
    new: Counts, old: list[Counts], limits: Fences, expected: dict[str, int]
) -> None:
    assert shrink_old_sets(3, limits, new, old) == expected


def test_scaling_in_the_middle_of_a_rollout_is_in_proportion() -> None:
    # The example of the Kubernetes documentation: 10 replicas, maxSurge 3, 8 old and 5 new, scaled to 15.
    sets = [Counts("new", 5, 0, 13), Counts("old", 8, 8, 13)]
    assert spread_scale(15, Fences(3, 2), sets) == {"new": 7, "old": 11}


def test_a_paused_deployment_makes_no_new_set() -> None:
    deployment = {
        "metadata": meta("web", generation=1),
        "spec": {
            "paused": True,
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}},
        },
    }
    assert not any(isinstance(w, Create) for w in decide_deployment(deployment, [], [], NOW).writes)
    running = {**deployment, "spec": {**deployment["spec"], "paused": False}}
    assert any(isinstance(w, Create) for w in decide_deployment(running, [], [], NOW).writes)


def test_pods_that_are_worth_least_go_first() -> None:
    ready = pod("ready", "a", conditions=READY)
    pending = pod("pending", "a", phase="Pending")
    unplaced = pod("unplaced", phase="Pending")
    order = [item["metadata"]["name"] for item in deletion_order([ready, pending, unplaced])]
    assert order == ["unplaced", "pending", "ready"]


def job(**spec: Any) -> Object:
    return {
        "metadata": meta("j"),
        "spec": {"completions": 1, "template": {"spec": {"restartPolicy": "Never"}}, **spec},
        "status": {"startTime": timestamp(NOW)},
    }


def test_a_failed_pod_is_followed_by_another_after_the_back_off() -> None:
    failed = pod("f", "a", phase="Failed")
    failed["metadata"]["creationTimestamp"] = timestamp(NOW)
    timing = Timing(job_backoff=10)
    early = decide_job(job(), [failed], NOW + timedelta(seconds=4), timing)
    assert (early.creates, early.again_in) == ([], 6.0)
    assert len(decide_job(job(), [failed], NOW + timedelta(seconds=10), timing).creates) == 1


def test_restarts_in_place_count_against_the_limit_of_a_job_that_restarts() -> None:
    running = pod("r", "a")
    running["status"]["containerStatuses"] = [{"restartCount": 2}]
    body = job(backoffLimit=2)
    body["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    writes = decide_job(body, [running], NOW, Timing()).writes
    assert any(isinstance(write, Delete) for write in writes)


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"minAvailable": 2}, 1),
        ({"minAvailable": "100%"}, 0),
        ({"maxUnavailable": 1}, 1),
        ({"maxUnavailable": "67%"}, 3),
    ],
)
def test_a_budget_allows_what_is_healthy_beyond_its_minimum(spec: Object, allowed: int) -> None:
    pods = [pod(str(i), "a", conditions=READY) for i in range(3)]
    for item in pods:
        item["metadata"]["ownerReferences"] = [REFERENCE | {"controller": True}]
    budget = {"metadata": meta("b", generation=1), "spec": spec}
    (write,) = decide_budget(budget, pods, lambda _: 3, NOW).writes
    assert isinstance(write, Update)
    assert write.body["status"]["disruptionsAllowed"] == allowed


def bound_volume(writes: list[Any]) -> str | None:
    names = [
        w.body["spec"].get("volumeName") for w in writes if isinstance(w, Update) and w.resource == CLAIMS
    ]
    return names[0] if names else None


@pytest.mark.parametrize(
    ("storage_class", "volumes", "expected"),
    [
        (CLASS, [volume("big", "50Gi"), volume("fits", "6Gi"), volume("small", "1Gi")], "fits"),
        (CLASS, [volume("small", "1Gi")], None),
        (CLASS, [volume("other", "6Gi", claimRef={"namespace": "default", "name": "else"})], None),
        (LATE, [volume("free", "6Gi")], None),
        (LATE, [volume("mine", "6Gi", claimRef={"namespace": "default", "name": "data"})], "mine"),
    ],
)
def test_a_claim_takes_the_smallest_volume_or_the_one_made_for_it(
    storage_class: Object, volumes: list[Object], expected: str | None
) -> None:
    assert bound_volume(decide_claim(claim(), volumes, [storage_class], in_use=False).writes) == expected


def test_a_provisioner_is_asked_at_once_or_after_the_node_is_chosen() -> None:
    def asked(c: Object, storage_class: Object) -> bool:
        writes = decide_claim(c, [], [storage_class], in_use=False).writes
        return any(isinstance(w, Patch) for w in writes)

    chosen = claim()
    chosen["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "a"}
    assert asked(claim(), CLASS)
    assert not asked(claim(), LATE)
    assert asked(chosen, LATE)


@pytest.mark.parametrize(
    ("reference", "claims", "phase"),
    [
        (None, [], "Available"),
        ({"namespace": "default", "name": "data", "uid": "uid-data"}, [], "Released"),
        ({"namespace": "default", "name": "data", "uid": "uid-data"}, [claim(volumeName="pv")], "Bound"),
        ({"namespace": "default", "name": "data"}, [], "Available"),
    ],
)
def test_the_phase_of_a_volume(reference: Object | None, claims: list[Object], phase: str) -> None:
    item = volume("pv", "5Gi") | {"status": {}}
    if reference:
        item["spec"]["claimRef"] = reference
    (write,) = decide_volume(item, claims, NOW).writes
    assert isinstance(write, Update)
    assert write.body["status"]["phase"] == phase


def test_a_claim_whose_volume_vanished_is_lost() -> None:
    lost = claim(volumeName="pv")
    lost["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    status = decide_claim(lost, [], [CLASS], in_use=False).writes[0]
    assert isinstance(status, Update)
    assert status.body["status"]["phase"] == "Lost"


REFERENCE = {"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "o"}
OTHER = REFERENCE | {"uid": "other"}


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (Owners(solid=(REFERENCE,)), None),
        (Owners(dangling=(REFERENCE,)), Delete),
        (Owners(solid=(OTHER,), dangling=(REFERENCE,)), Patch),
        (Owners(waiting=(REFERENCE,)), Delete),
    ],
)
def test_a_dependent_goes_only_with_its_last_owner(owners: Owners, expected: type | None) -> None:
    item = pod("p")
    item["metadata"]["ownerReferences"] = [REFERENCE, OTHER]
    writes = decide_dependent(PODS, item, owners, has_dependents=False)
    assert [type(write) for write in writes] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("seconds", "waited", "left", "said"),
    [
        (None, None, None, ""),
        (None, 60, None, "Cancelling deletion of Pod default/p"),
        (300, None, 300.0, ""),
        (300, 60, 240.0, ""),
        (30, 60, None, "Marking for deletion Pod default/p"),
    ],
)
def test_a_pod_stays_on_a_tainted_node_as_long_as_it_tolerates(
    seconds: int | None, waited: int | None, left: float | None, said: str
) -> None:
    tainted = node("a", taints=[{"key": "k", "effect": "NoExecute"}])
    toleration = {"key": "k", "operator": "Exists"} | ({"tolerationSeconds": seconds} if seconds else {})
    item = pod("p", "a", tolerations=[toleration])
    waiting = {"uid-p": NOW - timedelta(seconds=waited)} if waited else {}
    decision, still = decide_eviction(tainted, [item], waiting, NOW)
    assert decision.again_in == left
    assert [w.message for w in decision.writes if isinstance(w, Note)] == ([said] if said else [])
    assert any(isinstance(w, Delete) for w in decision.writes) == said.startswith("Marking")
    assert list(still) == (["uid-p"] if left else [])

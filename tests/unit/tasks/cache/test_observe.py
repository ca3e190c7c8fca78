"""What objects of the cluster and the job's log say."""

from __future__ import annotations

import pytest

from tasks.cache.observe import (
    Seen,
    file_system_lags,
    other_zones,
    pod_phase,
    read_log,
    served_commits,
    users_of,
)
from tasks.cloud.objects import living
from tasks.records.names import cache_path

C, D = "c" * 40, "d" * 40


def test_the_jobs_lines_are_read_and_a_torn_one_is_not() -> None:
    log = (
        'Traceback\nSLIPWAY {"event": "progress", "done": 1, "total": 4}\n'
        'SLIPWAY {"event": "progress", "done": 3, "total": 4}\n'
        'SLIPWAY {"event": "note", "text": "torn"}\nSLIPWAY {"event": "progr\nSLIPWAY {"event": "x}'
    )
    assert read_log(log).progress == (3, 4)
    assert read_log(log).notes == ("torn",)
    assert read_log(log).done is None


def pod(
    node: str | None = "n1", phase: str = "Running", claim: str = "c", **labels: str
) -> dict[str, object]:
    spec = {
        "nodeName": node,
        "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [{"args": [f"--model=/models/acme--small/{C}"]}],
    }
    return {"metadata": {"labels": labels}, "spec": spec, "status": {"phase": phase}}


def test_only_live_pods_on_a_node_hold_a_claim() -> None:
    holds = pod()
    others = [pod(None), pod(phase="Succeeded"), pod(claim="d"), pod(app="model-cache")]
    assert users_of([holds, *others], "c") == [holds]


def test_a_commit_is_served_by_a_pod_or_by_a_deployment_scaled_to_nothing() -> None:
    args = {"args": [f"/models/acme--other/{D}", "--max-model-len=2048"]}
    deployment = {"spec": {"replicas": 0, "template": {"spec": {"containers": [args]}}}}
    assert served_commits([pod(), deployment]) == {C, D}
    assert served_commits(living([pod(phase="Failed")])) == set()
    assert cache_path("acme/small", C) == f"acme--small/{C}"


def node(zone: str) -> dict[str, object]:
    return {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}


@pytest.mark.parametrize(
    ("zone", "nodes", "others"),
    [
        ("a", [node("a")], []),
        ("a", [node("a"), node("b")], []),
        ("a", [node("b"), node("c"), node("b")], ["b", "c"]),
        ("a", [], []),
        ("", [node("b")], []),
    ],
)
def test_a_volume_is_out_of_reach_where_every_node_is_in_another_zone(
    zone: str, nodes: list[dict[str, object]], others: list[str]
) -> None:
    assert other_zones(zone, nodes) == others


@pytest.mark.parametrize(
    ("has", "volume", "lags"), [("9Gi", "9Gi", False), ("9Gi", "16Gi", True), (None, "9Gi", False)]
)
def test_a_file_system_smaller_than_its_volume_is_being_grown(
    has: str | None, volume: str, lags: bool
) -> None:
    claim = {"status": {"capacity": {"storage": has}} if has else {}}
    assert file_system_lags(Seen(claim, {"spec": {"capacity": {"storage": volume}}}, None, ())) is lags
    assert not file_system_lags(Seen(claim, None, None, ()))


def test_a_pod_on_a_lost_node_is_lost_unless_it_ended_before() -> None:
    ended = {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}
    seen = {"spec": {"nodeName": "n"}, "status": {"containerStatuses": [{"state": {"running": {}}}]}}
    assert pod_phase(seen, None, node_is_lost=True) == "lost"
    assert pod_phase(seen | {"status": ended}, None, node_is_lost=True) == "running"


CHOSEN = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}


@pytest.mark.parametrize(
    ("seen", "claim", "phase"),
    [
        (None, None, "creating"),
        ({"spec": {}}, None, "scheduling"),
        ({"spec": {}}, {"metadata": {}, "status": {"phase": "Pending"}}, "scheduling"),
        ({"spec": {}}, CHOSEN | {"status": {"phase": "Pending"}}, "volume"),
        ({"spec": {}}, CHOSEN | {"status": {"phase": "Bound"}}, "scheduling"),
        ({"spec": {"nodeName": "n"}}, None, "starting"),
        ({"spec": {"nodeName": "n"}, "status": {"containerStatuses": [{"state": {"waiting": {}}}]}}, None, "starting"),
        ({"spec": {"nodeName": "n"}, "status": {"containerStatuses": [{"state": {"running": {}}}]}}, None, "running"),
        (
            {"spec": {"nodeName": "n"}, "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}},
            None,
            "running",
        ),
    ],
)  # fmt: skip
def test_a_pods_phase_is_what_it_waits_for(
    seen: dict[str, object] | None, claim: dict[str, object] | None, phase: str
) -> None:
    assert pod_phase(seen, claim) == phase

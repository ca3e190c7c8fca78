"""What is there decides what is done; no cluster is needed to say it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from exits import PERMANENT, Exit
from tasks.cache.decide import Action, ClaimSeen, JobSeen, decide
from tasks.cache.failures import Place, ended, overdue
from tasks.cache.kept import KeptVolume, choose, known_elsewhere
from tasks.cache.manifests import claim_name, clone_class, folder_of, job, job_name, storage_class
from tasks.cache.observe import (
    alive,
    file_system_lags,
    is_lost,
    other_zones,
    permanent_codes,
    pod_phase,
    said,
    served_commits,
    users_of,
)
from tasks.cache.snapshots import SnapshotSeen, Step, superseded
from tasks.cache.snapshots import decide as decide_snapshot
from tasks.cache.volume import Volume, differences, throughput_for, transfer_seconds, volume_for
from tasks.records.model import Cache, Model
from tasks.records.results import StagedModel
from tests.support.builders import a_model, an_environment

OURS, OTHER = "a" * 64, "b" * 64
C, D = "c" * 40, "d" * 40
GIB = 1 << 30
COLD = ClaimSeen("Bound", 20 * GIB)
WARM = ClaimSeen("Bound", 20 * GIB, C, OURS)


@pytest.mark.parametrize(
    ("claim", "job", "action"),
    [
        (None, None, Action.CREATE_CLAIM),
        (None, JobSeen("failed", OURS), Action.CREATE_CLAIM),
        (ClaimSeen("Bound", 20 * GIB, deleting=True), None, Action.WAIT),
        (ClaimSeen("Lost", 20 * GIB, C, OURS), None, Action.FAIL_CLAIM),
        (WARM, None, Action.REUSE),
        (WARM, JobSeen("failed", OURS), Action.REUSE),
        (ClaimSeen("Bound", 1, C, OURS), None, Action.REUSE),
        (ClaimSeen("Pending", 20 * GIB, C, OURS), None, Action.START_JOB),
        (ClaimSeen("Bound", 20 * GIB, D, OURS), None, Action.START_JOB),
        (ClaimSeen("Bound", 20 * GIB, C, OTHER), None, Action.START_JOB),
        (ClaimSeen("Bound", 9 * GIB), None, Action.EXPAND_CLAIM),
        (ClaimSeen("Pending", 9 * GIB), None, Action.REPLACE_CLAIM),
        (ClaimSeen("Pending", 20 * GIB, other_class=True), None, Action.REPLACE_CLAIM),
        (ClaimSeen("Pending", 20 * GIB, other_class=True, names_volume=True), None, Action.START_JOB),
        (ClaimSeen("Bound", 20 * GIB, other_class=True), None, Action.START_JOB),
        (ClaimSeen("Bound", 20 * GIB, C, OURS, other_class=True), None, Action.REUSE),
        (ClaimSeen("Pending", 9 * GIB, names_volume=True), None, Action.AWAIT_BINDING),
        (ClaimSeen("Bound", 20 * GIB, volume_bytes=9 * GIB), None, Action.AWAIT_GROWTH),
        (ClaimSeen("Bound", 20 * GIB, volume_bytes=10 * GIB), None, Action.START_JOB),
        (ClaimSeen("Bound", 20 * GIB, C, OURS, volume_bytes=9 * GIB), None, Action.REUSE),
        (COLD, None, Action.START_JOB),
        (ClaimSeen("Pending", 20 * GIB), None, Action.START_JOB),
        (COLD, JobSeen("running", OURS), Action.WATCH_JOB),
        (COLD, JobSeen("running", OURS, hopeless=True), Action.REPLACE_JOB),
        (COLD, JobSeen("running", OURS, hopeless=True, watched=True), Action.WATCH_JOB),
        (COLD, JobSeen("running", OTHER), Action.REPLACE_JOB),
        (COLD, JobSeen("running", OURS, deleting=True), Action.WAIT),
        (COLD, JobSeen("succeeded", OURS), Action.REPLACE_JOB),
        (COLD, JobSeen("succeeded", OURS, watched=True), Action.RECORD),
        (COLD, JobSeen("failed", OURS), Action.REPLACE_JOB),
        (COLD, JobSeen("failed", OURS, watched=True), Action.FAIL_JOB),
    ],
)
def test_what_is_there_decides_the_next_step(
    claim: ClaimSeen | None, job: JobSeen | None, action: Action
) -> None:
    assert decide(claim, job, commit=C, manifest=OURS, needed_bytes=10 * GIB) is action


@pytest.mark.parametrize(
    ("total", "cache", "kept", "volume"),
    [
        (0, Cache(), 0, Volume(2, 3000, 125)),
        (10 * GIB, Cache(), 0, Volume(15, 3000, 125)),
        (10 * GIB, Cache(), 10 * GIB, Volume(28, 3000, 125)),
        (10 * GIB, Cache(size="300Gi"), 0, Volume(300, 3000, 125)),
        (10 * GIB, Cache(throughput=1000), 0, Volume(15, 4000, 1000)),
        (10 * GIB, Cache(iops=16000, throughput=1000), 0, Volume(32, 16000, 1000)),
        (10 * GIB, Cache(throughput=2000), 0, Volume(16, 8000, 2000)),
        (10 * GIB, Cache(load_seconds=60), 0, Volume(15, 3000, 175)),
        (10 * GIB, Cache(load_seconds=60, throughput=500), 0, Volume(15, 3000, 500)),
        (10 * GIB, Cache(load_seconds=10), 0, Volume(15, 4100, 1025)),
        (400 * GIB, Cache(load_seconds=60), 0, Volume(522, 8000, 2000)),
        (10 * GIB, Cache(load_seconds=600), 0, Volume(15, 3000, 125)),
    ],
)
def test_a_volume_follows_from_bytes_and_gp3s_limits(
    total: int, cache: Cache, kept: int, volume: Volume
) -> None:
    assert volume_for(total, cache, kept, budget_mib_s=100) == volume
    assert volume.throughput <= volume.iops / 4
    assert volume.iops <= max(3000, 500 * volume.size_gib)


@pytest.mark.parametrize(
    ("load_seconds", "budget", "ceiling", "throughput"),
    [
        (None, 100.0, None, 125),
        (None, 300.0, None, 300),
        (None, 301.0, None, 325),
        (None, 300.0, 417.2, 300),
        (None, 500.0, 417.2, 417),
        (None, 500.0, 106.0, 125),
        (20.0, 100.0, None, 525),
        (20.0, 100.0, 417.2, 417),
        (1.0, 100.0, None, 2000),
    ],
)
def test_the_throughput_reads_the_model_in_time_as_far_as_gp3_and_the_instance_can(
    load_seconds: float | None, budget: float, ceiling: float | None, throughput: int
) -> None:
    assert throughput_for(10 * GIB, load_seconds, budget, ceiling) == throughput


def test_other_figures_are_another_class_as_a_class_never_changes() -> None:
    usual, fast = Volume(20, 3000, 125), Volume(20, 8000, 2000)
    where = an_environment()
    assert storage_class(usual, where)["metadata"]["name"] == "gp3-retain-3000-125"
    made = storage_class(fast, where)
    assert made["metadata"]["name"] == "gp3-retain-8000-2000"
    assert made["parameters"]["throughput"] == "2000"
    assert made["parameters"]["tagSpecification_1"] == f"slipway:environment={where.name}"
    assert (made["reclaimPolicy"], made["parameters"]["encrypted"]) == ("Retain", "true")


def test_only_clones_ask_for_an_initialization_rate_and_their_class_is_named_for_it() -> None:
    volume, where = Volume(20, 3000, 125), an_environment()
    cache = Cache(restore="initialization-rate", initialization_rate=200)
    made = clone_class(volume, cache, where)
    assert made["metadata"]["name"] == "gp3-clone-3000-125-init200"
    assert made["parameters"]["volumeInitializationRate"] == "200"
    assert "volumeInitializationRate" not in storage_class(volume, where)["parameters"]
    assert "volumeInitializationRate" not in clone_class(volume, Cache(), where)["parameters"]


def test_a_restore_without_a_snapshot_is_refused() -> None:
    with pytest.raises(ValidationError, match="is for clones, and no snapshot is taken"):
        a_model(cache={"restore": "fast-snapshot-restore"})


def test_the_time_a_copy_may_take_follows_from_its_bytes() -> None:
    assert transfer_seconds(100 * GIB, 100) == pytest.approx(60 + 2 * 1024)


def test_the_longest_names_are_still_label_values() -> None:
    model = Model.model_validate({"name": "m" * 40, "source": {"repo": "a/b"}, "load": {"rate": 1}})
    assert len(job_name(model, C)) <= 63
    assert len(claim_name(model)) <= 63


def test_the_jobs_lines_are_read_and_a_torn_one_is_not() -> None:
    log = (
        'Traceback\nSLIPWAY {"event": "progress", "done": 1, "total": 4}\n'
        'SLIPWAY {"event": "progress", "done": 3, "total": 4}\n'
        'SLIPWAY {"event": "note", "text": "torn"}\nSLIPWAY {"event": "progr\nSLIPWAY {"event": "x}'
    )
    assert said(log).progress == (3, 4)
    assert said(log).notes == ("torn",)
    assert said(log).done is None


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
    assert served_commits(alive([pod(phase="Failed")])) == set()
    assert folder_of("acme/small", C) == f"acme--small/{C}"


def node(zone: str, ready: str | None = "True") -> dict[str, object]:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    labels = {"topology.kubernetes.io/zone": zone}
    return {"metadata": {"labels": labels}, "status": {"conditions": conditions}}


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
    assert file_system_lags(claim, {"spec": {"capacity": {"storage": volume}}}) is lags
    assert not file_system_lags(claim, None)


@pytest.mark.parametrize(
    ("ready", "lost"), [("True", False), ("False", True), ("Unknown", True), (None, True)]
)
def test_a_node_is_lost_unless_it_says_it_is_ready(ready: str | None, lost: bool) -> None:
    assert is_lost(node("a", ready)) is lost
    assert is_lost(None)


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


PLACE = Place("llm", "model-cache-m", "warm-m-cc", "eks", "m", "vllm/vllm-openai:x")


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (Exit.NO_SPACE, "Error", "is full"),
        (Exit.BAD_DATA, "Error", "not what was staged"),
        (Exit.NOT_FOUND, "Error", "not in S3"),
        (Exit.NO_ANSWER, "Error", "S3 does not answer"),
        (Exit.BAD_DISK, "Error", "the volume of model-cache-m fails"),
        (Exit.BUSY, "Error", "another warming holds"),
        (Exit.DENIED, "Error", "may not be read"),
        (137, "OOMKilled", "killed for memory"),
        (1, "Error", "ended with code 1"),
    ],
)
def test_each_exit_code_has_its_cause_and_a_next_command(code: int, reason: str, cause: str) -> None:
    failure = ended(code, reason, None, ["the last line"], PLACE)
    assert cause in failure.cause
    assert failure.next_command
    assert failure.evidence == ("the last line",)


@pytest.mark.parametrize("code", list(Exit))
def test_no_exit_code_of_the_warmer_is_unknown(code: Exit) -> None:
    assert "ended with code" not in ended(code, "Error", None, [], PLACE).cause


def test_the_job_is_not_tried_again_after_exit_codes_that_are_permanent() -> None:
    staged = StagedModel(bucket="b", prefix="p", repo="a/b", commit=C, total_bytes=1, manifest_sha256=OURS)
    made = job(staged, a_model(), an_environment(), region="r", needed=(), node=None, seconds=60.0)
    assert permanent_codes(made) == PERMANENT
    rules = made["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob"]


def test_a_driver_that_is_denied_is_told_from_one_that_is_slow() -> None:
    denied = ["Normal WaitForFirstConsumer: …", "Warning ProvisioningFailed: UnauthorizedOperation"]
    assert "may not make volumes" in overdue("volume", 300, "p", [], denied, PLACE).cause
    assert "did not grow within 5 min" in overdue("growing", 300, None, [], denied, PLACE).cause
    assert "was not made within 5 min" in overdue("volume", 300, "p", [], denied[:1], PLACE).cause


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (None, Step.TAKE),
        (SnapshotSeen("s", C), Step.WAIT),
        (SnapshotSeen("s", C, error="no credentials"), Step.WAIT),
        (SnapshotSeen("s", C, cut=True), Step.WAIT),
        (SnapshotSeen("s", C, cut=True, ready=True), Step.DONE),
        (SnapshotSeen("s", C, cut=True, ready=True, deleting=True), Step.WAIT),
    ],
)
def test_a_snapshot_is_taken_once_and_waited_for(seen: SnapshotSeen | None, step: Step) -> None:
    assert decide_snapshot(seen) is step


@pytest.mark.parametrize(
    ("needed", "gone"),
    [({C, D}, []), ({C}, ["of-d"]), (set(), ["of-c", "of-d"])],
)
def test_a_snapshot_goes_once_nothing_needs_its_commit(needed: set[str], gone: list[str]) -> None:
    going = SnapshotSeen("going", "e" * 40, deleting=True)
    assert superseded([SnapshotSeen("of-c", C), SnapshotSeen("of-d", D), going], needed) == gone


@pytest.mark.parametrize(
    ("snapshot", "replicas", "wanted"),
    [("auto", 1, False), ("auto", 2, True), ("always", 1, True), ("never", 2, False)],
)
def test_a_snapshot_is_wanted_where_there_may_be_several_replicas(
    snapshot: str, replicas: int, wanted: bool
) -> None:
    cache, scaling = {"snapshot": snapshot}, {"max_replicas": replicas}
    assert a_model(cache=cache, scaling=scaling).wants_snapshot is wanted


def kept(identity: str, zone: str = "a", day: int = 1) -> KeptVolume:
    return KeptVolume(identity, zone, 20, 3000, 125, datetime(2026, 1, day, tzinfo=UTC))


@pytest.mark.parametrize(
    ("found", "known", "chosen"),
    [
        ([], set(), None),
        ([kept("v1")], set(), "v1"),
        ([kept("v1", "b")], set(), None),
        ([kept("v1")], {"v1"}, None),
        ([kept("v1", day=2), kept("v2", day=3), kept("v3", "b", day=4)], set(), "v2"),
        ([kept("v1", day=2), kept("v2", day=3)], {"v2"}, "v1"),
    ],
)
def test_the_newest_kept_volume_in_reach_is_taken_up(
    found: list[KeptVolume], known: set[str], chosen: str | None
) -> None:
    volume = choose(found, zones={"a"}, known=known)
    assert (volume.identity if volume else None) == chosen


@pytest.mark.parametrize(
    ("claim", "phase", "spoken_for"),
    [
        (None, "Available", True),
        ({"namespace": "llm", "name": "c"}, "Available", False),
        ({"namespace": "llm", "name": "c"}, "Released", True),
        ({"namespace": "llm", "name": "d"}, "Available", True),
    ],
)
def test_a_volume_the_cluster_knows_is_taken_up_only_where_it_waits_for_this_claim(
    claim: dict[str, str] | None, phase: str, spoken_for: bool
) -> None:
    spec = {"csi": {"volumeHandle": "v1"}} | ({"claimRef": claim} if claim else {})
    volume = {"spec": spec, "status": {"phase": phase}}
    assert known_elsewhere([volume], "llm", "c") == ({"v1"} if spoken_for else set())


@pytest.mark.parametrize(
    ("has", "wanted", "asked", "words"),
    [
        (Volume(20, 3000, 125), Volume(20, 3000, 125), True, []),
        (Volume(20, 3000, 125), Volume(30, 3000, 125), True, []),
        (Volume(30, 3000, 125), Volume(20, 3000, 125), False, []),
        (Volume(30, 3000, 125), Volume(20, 3000, 125), True, ["cannot shrink"]),
        (Volume(20, 3000, 125), Volume(20, 4000, 500), False, ["--iops 4000 --throughput 500"]),
        (Volume(20, 8000, 125), Volume(20, 3000, 125), False, ["--iops 3000 --throughput 125"]),
        (Volume(30, 8000, 125), Volume(20, 3000, 125), True, ["--iops 3000", "cannot shrink"]),
    ],
)
def test_what_a_volume_has_otherwise_is_told_with_the_command(
    has: Volume, wanted: Volume, asked: bool, words: list[str]
) -> None:
    lines = differences(has, wanted, "vol-1", asked=asked)
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert word in line

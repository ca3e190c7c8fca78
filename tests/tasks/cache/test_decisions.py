"""What is there decides what is done; no cluster is needed to say it."""

from __future__ import annotations

import pytest

from tasks.cache.decide import Action, ClaimSeen, JobSeen, decide
from tasks.cache.failures import Place, ended, overdue
from tasks.cache.manifests import claim_name, folder_of, job_name, load, storage_class
from tasks.cache.observe import PERMANENT, pod_phase, said, served_commits, users_of
from tasks.cache.volume import Volume, transfer_seconds, volume_for
from tasks.cache.warm import BAD_DATA, DENIED, NO_SPACE, NOT_FOUND
from tasks.spec.model import Cache, Model
from tests.tasks.builders import an_environment

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
        (0, Cache(), 0, Volume(2, 3000, 250)),
        (10 * GIB, Cache(), 0, Volume(15, 3000, 250)),
        (10 * GIB, Cache(), 10 * GIB, Volume(28, 3000, 250)),
        (10 * GIB, Cache(size="300Gi"), 0, Volume(300, 3000, 250)),
        (10 * GIB, Cache(throughput=1000), 0, Volume(15, 4000, 1000)),
        (10 * GIB, Cache(iops=16000, throughput=1000), 0, Volume(32, 16000, 1000)),
        (10 * GIB, Cache(throughput=2000), 0, Volume(16, 8000, 2000)),
    ],
)
def test_a_volume_follows_from_bytes_and_gp3s_limits(
    total: int, cache: Cache, kept: int, volume: Volume
) -> None:
    assert volume_for(total, cache, kept) == volume
    assert volume.throughput <= volume.iops / 4
    assert volume.iops <= max(3000, 500 * volume.size_gib)


def test_other_figures_are_another_class_as_a_class_never_changes() -> None:
    usual, fast = Volume(20, 3000, 250), Volume(20, 8000, 2000)
    where = an_environment()
    assert storage_class(usual, where)["metadata"]["name"] == "gp3-retain"
    made = storage_class(fast, where)
    assert made["metadata"]["name"] == "gp3-retain-8000-2000"
    assert made["parameters"]["throughput"] == "2000"
    assert made["parameters"]["tagSpecification_1"] == f"slipway:environment={where.name}"
    assert (made["reclaimPolicy"], made["parameters"]["encrypted"]) == ("Retain", "true")


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


def test_the_commit_a_pod_serves_is_kept() -> None:
    assert served_commits([pod()], "acme/small") == {C}
    assert served_commits([pod()], "acme/smal") == set()
    assert folder_of("acme/small", C) == f"acme--small/{C}"


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
        (NO_SPACE, "Error", "is full"),
        (BAD_DATA, "Error", "not what was staged"),
        (NOT_FOUND, "Error", "not in S3"),
        (DENIED, "Error", "may not be read"),
        (137, "OOMKilled", "killed for memory"),
        (1, "Error", "ended with code 1"),
    ],
)
def test_each_exit_code_has_its_cause_and_a_next_command(code: int, reason: str, cause: str) -> None:
    failure = ended(code, reason, None, ["the last line"], PLACE)
    assert cause in failure.cause
    assert failure.next_command
    assert failure.evidence == ("the last line",)


def test_codes_the_job_does_not_retry_are_those_the_watcher_gives_up_on() -> None:
    rule = load("job")["spec"]["podFailurePolicy"]["rules"][0]
    assert set(rule["onExitCodes"]["values"]) == {NO_SPACE, BAD_DATA, NOT_FOUND, DENIED} == PERMANENT


def test_a_driver_that_is_denied_is_told_from_one_that_is_slow() -> None:
    denied = ["Normal WaitForFirstConsumer: …", "Warning ProvisioningFailed: UnauthorizedOperation"]
    assert "may not make volumes" in overdue("volume", 300, "p", [], denied, PLACE).cause
    assert "was not made within 5 min" in overdue("volume", 300, "p", [], denied[:1], PLACE).cause

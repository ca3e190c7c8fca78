"""What is there decides what is done; no cluster is needed to say it."""

from __future__ import annotations

import pytest

from tasks.cache.decide import Action, ClaimSeen, JobSeen, decide

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
        (ClaimSeen("Bound", 20 * GIB, deleting=True), None, Action.AWAIT_DELETION),
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
        (COLD, JobSeen("running", OURS, deleting=True), Action.AWAIT_DELETION),
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

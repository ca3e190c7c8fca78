"""Causes and next commands of a warming that failed."""

from __future__ import annotations

import pytest

from exits import Exit
from tasks.cache.decide import Phase
from tasks.cache.failures import ended, overdue
from tests.support.canned import a_context


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (Exit.NO_SPACE, "Error", "is full"),
        (Exit.BAD_DATA, "Error", "not what was staged"),
        (Exit.NOT_FOUND, "Error", "not in S3"),
        (Exit.NO_ANSWER, "Error", "S3 does not answer"),
        (Exit.BAD_DISK, "Error", "the volume of model-cache-llama fails"),
        (Exit.BUSY, "Error", "another warming holds"),
        (Exit.DENIED, "Error", "may not be read"),
        (137, "OOMKilled", "killed for memory"),
        (1, "Error", "ended with code 1"),
    ],
)
def test_each_exit_code_has_its_cause_and_a_next_command(code: int, reason: str, cause: str) -> None:
    failure = ended(a_context(), code, reason, None, ["the last line"])
    assert cause in failure.cause
    assert failure.next_command
    assert failure.evidence == ("the last line",)


@pytest.mark.parametrize("code", list(Exit))
def test_no_exit_code_of_the_warmer_is_unknown(code: Exit) -> None:
    assert "ended with code" not in ended(a_context(), code, "Error", None, []).cause


@pytest.mark.parametrize(
    ("phase", "claim_events", "cause"),
    [
        ("volume", ["Normal WaitForFirstConsumer: …"], "was not made within 5 min"),
        ("volume", ["Warning ProvisioningFailed: UnauthorizedOperation"], "may not make volumes"),
        ("growing", ["Warning ProvisioningFailed: UnauthorizedOperation"], "did not grow within 5 min"),
        ("scheduling", [], "no node took the warm job within 5 min"),
    ],
)
def test_a_driver_that_is_denied_is_told_from_one_that_is_slow(
    phase: Phase, claim_events: list[str], cause: str
) -> None:
    error = overdue(a_context(), phase, 300, pod="p", pod_events=["of the pod"], claim_events=claim_events)
    assert cause in error.cause
    assert error.evidence == tuple(claim_events or ["of the pod"])
    assert error.next_command

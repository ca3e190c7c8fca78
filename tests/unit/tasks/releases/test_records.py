from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.records.errors import RolloutFailed
from tasks.records.results import Endpoint, Rollout
from tasks.releases.records import MOST_STARTS, Failure, ReleaseRecord, Start
from tests.support.releases import a_record
from tests.support.reports import a_run

ENDPOINT = Endpoint(base_url="http://gateway/v1", served_name="llama", key_namespace="llm", key_secret="key")
ROLLOUT = Rollout(
    release_id="0123456789ab",
    revision=1,
    previous_release_id=None,
    strategy="RollingUpdate",
    endpoint=ENDPOINT,
)


def a_start(second: int, cause: str = "rollout") -> Start:
    return Start(at=datetime(2025, 1, 1, 0, 0, second, tzinfo=UTC), cause=cause, phases={"weights": 1.5})


def test_a_record_of_an_older_ledger_can_still_be_read() -> None:
    record = a_record(1).model_copy(update={"rollout": ROLLOUT, "starts": (a_start(1),)})
    document = record.model_dump(mode="json")
    document["rollout"] |= {"phases": {"weights": 1.5}, "phases_before": {"weights": 2.5}}
    assert ReleaseRecord.model_validate(document) == record


def test_the_same_start_is_kept_once_and_only_the_newest_are() -> None:
    record = a_record(1)
    for second in [*range(MOST_STARTS + 5), MOST_STARTS + 4]:
        record = record.with_start(a_start(second))
    assert [start.at.second for start in record.starts] == list(range(5, MOST_STARTS + 5))


@pytest.mark.parametrize(
    ("starts", "last"),
    [
        ([], None),
        ([a_start(1), a_start(2)], a_start(2)),
        ([a_start(1), a_start(2, cause="wake")], a_start(1)),
        ([a_start(2, cause="wake")], None),
    ],
)
def test_the_last_start_is_of_the_cause_asked_for(starts: list[Start], last: Start | None) -> None:
    record = a_record(1).model_copy(update={"starts": tuple(starts)})
    assert record.last_start("rollout") == last


def test_a_release_that_passed_its_gate_answers_somewhere() -> None:
    assert a_record(1).model_copy(update={"rollout": ROLLOUT}).endpoint == ENDPOINT


def test_a_release_that_did_not_answers_nowhere() -> None:
    with pytest.raises(RolloutFailed, match="has not passed its gate"):
        _ = a_record(1).endpoint


def test_a_failure_keeps_cause_evidence_and_next_command() -> None:
    error = RolloutFailed("no pod became ready", evidence=["OOMKilled"], next_command="kubectl get pods")
    assert Failure.of(error) == Failure(
        cause="no pod became ready", evidence=("OOMKilled",), next_command="kubectl get pods"
    )


def test_a_validation_that_was_interrupted_leaves_the_proof_before_it() -> None:
    proven = a_record(1).model_copy(update={"proven_by": a_run(1)})
    assert proven.evidence == proven.proven_by
    failed = a_run(2).model_copy(update={"verdict": "FAIL"})
    assert proven.model_copy(update={"report": failed}).evidence == failed
    assert a_record(1).evidence is None

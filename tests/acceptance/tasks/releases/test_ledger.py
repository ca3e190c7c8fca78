from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.aws import Aws
from tasks.records.errors import UnknownName
from tasks.records.reports import LoadPage, Sweep
from tasks.releases.ledger import Ledger, Serving
from tasks.releases.records import ReleaseRecord
from tasks.rollout.restore import decide_return
from tests.support.releases import a_record
from tests.support.reports import AT, a_run


@pytest.fixture
def ledger(stage_aws: Aws, bucket: str) -> Ledger:
    return Ledger(stage_aws.client("s3"), bucket, "staging", "llama")


A, B, C = (a_record(n) for n in (1, 2, 3))


def test_nothing_was_ever_written(ledger: Ledger) -> None:
    assert ledger.serving() == Serving()


def test_commits_that_may_serve_again_are_those_of_serving_previous_and_rolling(ledger: Ledger) -> None:
    assert ledger.commits() == []
    records = [
        record.model_copy(update={"release": record.release.model_copy(update={"commit": letter * 40})})
        for record, letter in ((A, "a"), (B, "b"), (C, "c"), (a_record(4), "d"))
    ]
    for record in records[:3]:
        ledger.begin(record)
        ledger.proven(record)
    ledger.begin(records[3])
    assert ledger.commits() == ["b" * 40, "c" * 40, "d" * 40]


def test_a_release_is_written_down_before_it_rolls_out(ledger: Ledger) -> None:
    assert ledger.begin(A) == Serving(rolling=A.release.id)
    assert ledger.record(A.release.id) == A


def test_the_commit_it_is_made_from_stands_with_a_release(stage_aws: Aws, bucket: str) -> None:
    first, second, unknown = (
        Ledger(stage_aws.client("s3"), bucket, "commits", "llama", commit) for commit in ("aaa", "bbb", None)
    )
    first.begin(A)
    assert first.record(A.release.id).made_from == "aaa"
    # what a later run writes of it is no rollout
    second.proven(A)
    second.keep(A)
    assert first.record(A.release.id).made_from == "aaa"
    second.begin(A)
    assert first.record(A.release.id).made_from == "bbb"
    unknown.begin(A)
    assert first.record(A.release.id).made_from is None


def test_beginning_twice_is_beginning_once(ledger: Ledger) -> None:
    ledger.begin(A)
    ledger.proven(A)
    assert ledger.begin(B) == ledger.begin(B) == Serving(serving=A.release.id, rolling=B.release.id)


def test_a_rollout_that_fails_leads_back_to_what_served(ledger: Ledger) -> None:
    ledger.begin(A)
    ledger.proven(A)
    ledger.begin(B)
    ledger.keep(B)
    target = decide_return(ledger.serving()).target
    assert target == A.release.id
    assert ledger.restored(target) == Serving(serving=A.release.id, returned=True)
    assert not decide_return(ledger.serving()).act


def test_going_back_a_second_time_changes_nothing(ledger: Ledger) -> None:
    for record in (A, B):
        ledger.begin(record)
        ledger.proven(record)
    ledger.restored(decide_return(ledger.serving()).target)
    assert ledger.serving() == Serving(serving=A.release.id, returned=True)
    assert not decide_return(ledger.serving()).act


def test_a_failed_rollout_does_not_forget_what_served_before_the_last_good_one(ledger: Ledger) -> None:
    for record in (A, B):
        ledger.begin(record)
        ledger.proven(record)
    ledger.begin(C)
    ledger.restored(B.release.id)
    back = ledger.serving()
    assert back == Serving(serving=B.release.id, previous=A.release.id, returned=True)
    assert f"--release {A.release.id}" in decide_return(back).reason
    assert not decide_return(back).act


def test_what_is_proven_after_a_return_can_be_gone_back_from(ledger: Ledger) -> None:
    for record in (A, B):
        ledger.begin(record)
        ledger.proven(record)
    ledger.begin(C)
    ledger.restored(B.release.id)
    ledger.begin(C)
    ledger.proven(C)
    assert decide_return(ledger.serving()).target == B.release.id


def test_a_release_asked_for_by_name_twice_can_still_be_undone(ledger: Ledger) -> None:
    for record in (A, B):
        ledger.begin(record)
        ledger.proven(record)
    ledger.restored(A.release.id, asked_for=True)
    ledger.restored(A.release.id, asked_for=True)
    assert ledger.serving() == Serving(serving=A.release.id, previous=B.release.id)


def test_models_and_environments_do_not_share_a_ledger(stage_aws: Aws, bucket: str, ledger: Ledger) -> None:
    ledger.begin(A)
    s3: Any = stage_aws.client("s3")
    assert Ledger(s3, bucket, "staging", "other").serving() == Serving()
    assert Ledger(s3, bucket, "production", "llama").serving() == Serving()


def test_an_unknown_release_is_told_with_where_to_look(ledger: Ledger) -> None:
    with pytest.raises(UnknownName, match="no release 'nope' of llama") as caught:
        ledger.record("nope")
    assert "aws s3 ls s3://" in str(caught.value.next_command)


def proven(record: ReleaseRecord, requests: int, verdict: str = "PASS") -> ReleaseRecord:
    report = a_run(1).model_copy(update={"requests": requests, "verdict": verdict})
    return record.model_copy(update={"report": report})


def test_nothing_proven_is_nothing_to_compare_with(ledger: Ledger) -> None:
    assert ledger.last_proven() is None
    ledger.begin(A)
    assert ledger.last_proven() is None


def test_the_last_proof_is_of_what_serves(ledger: Ledger) -> None:
    for record, requests in ((A, 100), (B, 200)):
        ledger.begin(record)
        ledger.proven(proven(record, requests))
    found = ledger.last_proven()
    assert found is not None
    assert (found[0], found[1].requests) == (B.release.id, 200)


def test_a_proof_and_a_knee_stay_when_the_release_is_rolled_out_again(ledger: Ledger) -> None:
    """A run that was killed, or whose validation failed, must not take away what the next one is compared with."""
    ledger.begin(A)
    ledger.proven(proven(A, 100))
    knee = Sweep(started_at=AT, replicas=1, steps=(), knee=12.0)
    ledger.swept(ledger.record(A.release.id), knee)
    ledger.begin(A)
    ledger.keep(proven(A, 300, "FAIL"))
    kept = ledger.record(A.release.id)
    assert kept.sweep == knee
    assert kept.report is not None and kept.report.verdict == "FAIL"
    found = ledger.last_proven()
    assert found is not None and found[1].requests == 100
    assert ledger.last_swept() == (A.release.id, knee)


def test_the_last_sweep_is_of_what_serves_or_served_before_it(ledger: Ledger) -> None:
    assert ledger.last_swept() is None
    ledger.begin(A)
    ledger.proven(proven(A, 100))
    assert ledger.last_swept() is None
    knee = Sweep(started_at=AT, replicas=1, steps=(), knee=12.0)
    ledger.swept(ledger.record(A.release.id), knee)
    ledger.begin(B)
    ledger.proven(proven(B, 100))
    assert ledger.last_swept() == (A.release.id, knee)


def test_a_page_lies_beside_its_release(stage_aws: Aws, bucket: str, ledger: Ledger) -> None:
    address = ledger.keep_page("0123456789ab", "load-report-1", LoadPage(html="<p>é</p>", document="{}"))
    assert address == f"s3://{bucket}/releases/staging/llama/0123456789ab/load-report-1.html"
    s3 = stage_aws.client("s3")
    key = address.removeprefix(f"s3://{bucket}/")
    found = s3.get_object(Bucket=bucket, Key=key)
    assert found["Body"].read().decode() == "<p>é</p>"
    assert found["ContentType"] == "text/html; charset=utf-8"
    assert s3.get_object(Bucket=bucket, Key=key.replace(".html", ".json"))["Body"].read() == b"{}"

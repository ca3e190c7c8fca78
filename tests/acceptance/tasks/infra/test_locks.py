from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws
from tasks.cloud.waiting import Time
from tasks.infra import locks
from tasks.infra.locks import StateLock
from tasks.records.errors import StateLocked
from tasks.records.owner import Owner, is_alive, process_began, this_run
from tests.support.clock import Clock, until

KEY = "slipway/staging/cluster.tfstate"
NOW = 10_000.0


def owner(**over: Any) -> Owner:
    base = Owner(host="me", boot="b1", pid=7, pid_began="70", child=8, child_began="80", heartbeat=NOW)
    return replace(base, **over)


# ----------------------------------------------------------------- over S3


@pytest.fixture
def s3(stage_aws: Aws) -> Any:
    return stage_aws.client("s3")


def put_lock(s3: Any, bucket: str, *, created: float | None = None) -> None:
    """terraform's own lock object, as its S3 backend writes it."""
    lock = {
        "ID": "7d6a-lock",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": "someone@laptop",
        "Version": "1.13.0",
        "Created": datetime.fromtimestamp(time.time() if created is None else created, UTC).isoformat(),
        "Path": f"{bucket}/{KEY}",
    }
    s3.put_object(Bucket=bucket, Key=f"{KEY}.tflock", Body=json.dumps(lock).encode())


def put_owner(s3: Any, bucket: str, held_by: Owner) -> None:
    s3.put_object(Bucket=bucket, Key=f"{KEY}.owner", Body=json.dumps(asdict(held_by)).encode())


def keys(s3: Any, bucket: str) -> set[str]:
    return {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())}


def dead_run(heartbeat: float) -> Owner:
    """A run of this host whose processes are gone."""
    gone = replace(this_run(heartbeat), pid=2**22 - 1, pid_began="1", child=2**22 - 2, child_began="1")
    return replace(gone, heartbeat=heartbeat)


def test_a_free_state_is_taken_at_once(s3: Any, bucket: str) -> None:
    said: list[str] = []
    StateLock(s3, bucket, KEY).wait_until_free(said.append, patience=0, say=said.append)
    assert said == []


def test_a_dead_runs_lock_is_broken_through_terraform(s3: Any, bucket: str) -> None:
    now = time.time()
    put_owner(s3, bucket, dead_run(now - 5))
    put_lock(s3, bucket, created=now - 60)
    unlocked: list[str] = []

    def unlock(lock_id: str) -> None:
        unlocked.append(lock_id)
        s3.delete_object(Bucket=bucket, Key=f"{KEY}.tflock")

    StateLock(s3, bucket, KEY).wait_until_free(unlock, patience=5, say=lambda line: None)
    assert unlocked == ["7d6a-lock"]


def test_a_lock_taken_by_somebody_else_after_the_owner_died_is_left_alone(s3: Any, bucket: str) -> None:
    """A killed run leaves its record behind; its terraform gave the lock back. Then a person runs terraform."""
    put_owner(s3, bucket, dead_run(time.time() - 3600))
    put_lock(s3, bucket)
    broken: list[str] = []

    def unlock(lock_id: str) -> None:
        broken.append(lock_id)
        s3.delete_object(Bucket=bucket, Key=f"{KEY}.tflock")

    with pytest.raises(StateLocked):
        StateLock(s3, bucket, KEY).wait_until_free(unlock, patience=0, say=lambda line: None)
    assert broken == []


def test_somebody_elses_lock_is_waited_for_until_patience_ends(s3: Any, bucket: str, clock: Clock) -> None:
    put_lock(s3, bucket)
    said: list[str] = []
    lock = StateLock(s3, bucket, KEY, time=Time(clock, clock.sleep))
    with pytest.raises(StateLocked) as caught:
        lock.wait_until_free(said.append, patience=30, say=said.append)
    assert said == [f"another run holds {KEY}: waiting up to 30 s"]
    assert "someone@laptop" in str(caught.value)
    assert "7d6a-lock" in str(caught.value.next_command)
    assert 1029 < clock.now < 1033


def test_a_state_given_back_meanwhile_is_taken(s3: Any, bucket: str) -> None:
    put_lock(s3, bucket)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        s3.delete_object(Bucket=bucket, Key=f"{KEY}.tflock")

    lock = StateLock(s3, bucket, KEY, time=Time(time.time, sleep))
    lock.wait_until_free(lambda lock_id: None, patience=9, say=lambda line: None)
    assert slept == [1.0]


def test_the_owner_is_written_while_held_and_taken_away_after(s3: Any, bucket: str) -> None:
    with StateLock(s3, bucket, KEY).held():
        written = json.loads(s3.get_object(Bucket=bucket, Key=f"{KEY}.owner")["Body"].read())
        assert (written["pid"], written["child"]) == (os.getpid(), 0)
    assert keys(s3, bucket) == set()


def test_the_owner_is_taken_away_after_a_failure_too(s3: Any, bucket: str) -> None:
    with pytest.raises(ZeroDivisionError), StateLock(s3, bucket, KEY).held():
        raise ZeroDivisionError
    assert keys(s3, bucket) == set()


def test_the_owner_of_a_lock_that_a_killed_terraform_left_stays_known(s3: Any, bucket: str) -> None:
    with pytest.raises(ZeroDivisionError), StateLock(s3, bucket, KEY).held():
        put_lock(s3, bucket)
        raise ZeroDivisionError
    assert keys(s3, bucket) == {f"{KEY}.tflock", f"{KEY}.owner"}


def test_a_lock_that_was_there_before_is_not_claimed(s3: Any, bucket: str) -> None:
    put_lock(s3, bucket, created=time.time() - 5)
    with pytest.raises(ZeroDivisionError), StateLock(s3, bucket, KEY).held():
        raise ZeroDivisionError
    assert keys(s3, bucket) == {f"{KEY}.tflock"}


def test_reading_a_state_writes_over_nobody(s3: Any, bucket: str) -> None:
    StateLock(s3, bucket, KEY).started(os.getpid())
    assert keys(s3, bucket) == set()


def test_terraforms_own_process_is_written_down(s3: Any, bucket: str) -> None:
    lock = StateLock(s3, bucket, KEY)
    with lock.held():
        lock.started(os.getpid())
        written = Owner(**json.loads(s3.get_object(Bucket=bucket, Key=f"{KEY}.owner")["Body"].read()))
    assert is_alive(written.child, written.child_began)


def test_a_living_run_is_waited_for(s3: Any, bucket: str, clock: Clock) -> None:
    put_lock(s3, bucket)
    with StateLock(s3, bucket, KEY).held(), pytest.raises(StateLocked):
        StateLock(s3, bucket, KEY, time=Time(clock, clock.sleep)).wait_until_free(
            lambda lock_id: None, patience=1, say=lambda line: None
        )


class FailsOnce:
    """S3 that refuses its second write, as S3 does now and then."""

    def __init__(self, s3: Any) -> None:
        self._s3, self.writes = s3, 0

    def put_object(self, **request: Any) -> Any:
        self.writes += 1
        if self.writes == 2:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")
        return self._s3.put_object(**request)

    def get_object(self, **request: Any) -> Any:
        return self._s3.get_object(**request)

    def delete_object(self, **request: Any) -> Any:
        return self._s3.delete_object(**request)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_heartbeat_that_fails_does_not_stop_the_heart(
    s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.05)
    flaky = FailsOnce(s3)
    with StateLock(flaky, bucket, KEY).held():
        until(lambda: flaky.writes >= 4, 20)


def test_a_dead_process_is_not_alive_even_before_its_parent_asks() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        until(lambda: process_began(process.pid) == "")
    finally:
        process.wait(10)
    assert process_began(process.pid) == ""

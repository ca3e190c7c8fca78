"""A model from the hub into S3, over both protocols, with what goes wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from slipway_sandbox.testing import Faults, Sandbox

from tasks.cloud.aws import Aws, told_retries
from tasks.cloud.waiting import Time
from tasks.records.errors import (
    AccessDenied,
    ChecksumMismatch,
    CloudUnavailable,
    HubUnavailable,
    SlipwayError,
)
from tasks.records.model import Source
from tasks.records.results import HubModel, StagedModel
from tasks.staging import model_manifest
from tasks.staging.folder import StagedFolder
from tasks.staging.hub import resolve
from tasks.staging.hub_to_s3 import stage
from tasks.staging.link import Hub
from tasks.staging.objects import Bucket
from tests.support.builders import ROOT
from tests.support.clock import Clock
from tests.support.clouds import ACCOUNT
from tests.support.heard import Heard
from tests.support.hub_models import BIG, MIB, REPO, SECOND


class Stager:
    """`stage` with these tests' servers; `clock` makes its pauses take no time."""

    def __init__(self, sandbox: Sandbox, s3: Any, bucket: str, model: HubModel, heard: Heard) -> None:
        self.sandbox, self.s3, self.bucket, self.model, self.heard = sandbox, s3, bucket, model, heard
        self.clock = Clock(0.0)

    def __call__(self, model: HubModel | None = None, *, floor: int = 5 * MIB) -> StagedModel:
        hub = Hub(None, self.sandbox.hub_url, self.heard, Time(self.clock, self.clock.sleep))
        bucket = Bucket(self.s3, self.bucket, ACCOUNT)
        return stage(model or self.model, bucket, hub, workers=4, part_size_floor=floor)

    @property
    def folder(self) -> StagedFolder:
        return StagedFolder.of(Bucket(self.s3, self.bucket, ACCOUNT), self.model.repo, self.model.commit)

    @property
    def prefix(self) -> str:
        return self.folder.prefix

    def found(self) -> set[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {item["Key"].removeprefix(self.prefix + "/") for item in found}

    def uploads(self) -> list[Any]:
        return list(self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))

    def body(self, path: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}")["Body"].read()
        return data


@pytest.fixture
def run(sandbox: Sandbox, s3: Any, bucket: str, model: HubModel, heard: Heard) -> Stager:
    return Stager(sandbox, s3, bucket, model, heard)


def assert_whole(run: Stager) -> None:
    """Every file is there byte for byte, the manifest with it, and nothing else."""
    assert run.found() == {file.path for file in run.model.files} | {".slipway/manifest.json"}
    for file in run.model.files:
        body = run.body(file.path)
        assert len(body) == file.size
        if file.sha256:
            assert hashlib.sha256(body).hexdigest() == file.sha256
    assert run.uploads() == []


def test_every_file_arrives_and_the_manifest_with_it(run: Stager) -> None:
    staged = run()
    assert_whole(run)
    assert (staged.commit, staged.reused) == (run.model.commit, False)
    assert staged.total_bytes == run.model.total_bytes


def test_the_manifest_lists_checksums_s3_agrees_with(run: Stager) -> None:
    staged = run()
    stored = model_manifest.read(run.folder)
    assert stored is not None
    assert stored.sha256 == staged.manifest_sha256
    big = next(file for file in stored.manifest.files if file.path == BIG)
    head = run.s3.head_object(Bucket=run.bucket, Key=f"{staged.prefix}/{BIG}", ChecksumMode="ENABLED")
    assert big.crc64nvme == head["ChecksumCRC64NVME"]
    assert len(big.parts) == 5


def test_a_second_run_sends_nothing(run: Stager) -> None:
    first, second = run(), run()
    assert second.reused
    assert second.manifest_sha256 == first.manifest_sha256
    assert "nothing to send" in run.heard.lines[-1]


def test_progress_counts_every_byte_once(run: Stager) -> None:
    run()
    assert max(run.heard.steps) == (run.model.total_bytes, run.model.total_bytes)


def test_a_file_that_was_removed_comes_back_and_the_rest_stays(run: Stager) -> None:
    run()
    run.s3.delete_object(Bucket=run.bucket, Key=f"{run.prefix}/{SECOND}")
    run.heard.steps.clear()
    assert not run().reused
    assert_whole(run)
    assert run.heard.steps[-1][1] == 11 * MIB


def test_an_object_of_another_size_is_replaced(run: Stager) -> None:
    run.s3.put_object(Bucket=run.bucket, Key=f"{run.prefix}/{SECOND}", Body=b"half")
    run()
    assert_whole(run)


def test_an_object_with_other_bytes_is_found_and_replaced(run: Stager) -> None:
    run.s3.put_object(Bucket=run.bucket, Key=f"{run.prefix}/{SECOND}", Body=bytes(11 * MIB))
    run()
    assert_whole(run)
    assert any("is not the hub's file" in line for line in run.heard.lines)


def test_an_object_whose_record_was_lost_is_read_back_not_sent_again(run: Stager) -> None:
    run()
    run.s3.delete_object(Bucket=run.bucket, Key=run.folder.manifest_key)
    run.heard.steps.clear()
    run()
    assert_whole(run)
    assert run.heard.steps == []


def test_another_choice_of_files_replaces_the_manifest(run: Stager, sandbox: Sandbox) -> None:
    fewer = resolve(Source(repo=REPO, ignore=(SECOND,)), Hub(endpoint=sandbox.hub_url))
    run(fewer)
    run()
    assert_whole(run)


@pytest.mark.parametrize("fault", ["hub-reset", "hub-truncated", "hub-wrong-range", "hub-expired-url"])
def test_a_broken_answer_of_the_cdn_is_asked_for_again(run: Stager, faults: Faults, fault: str) -> None:
    faults.set(fault, count=4)
    run()
    assert faults.active() == [], "the fault never struck"
    assert_whole(run)


def test_a_repo_only_xet_serves_arrives_whole_and_it_is_said(run: Stager, faults: Faults) -> None:
    faults.set("hub-xet-only", target=REPO)
    run()
    assert_whole(run)
    said = [line for line in run.heard.lines if line.startswith(f"{BIG} is kept in Xet")]
    assert len(said) == 1
    assert said[0].endswith("it is read through hf_xet, the hub's own client")


def test_a_file_too_large_for_plain_http_goes_through_xet_at_once(
    run: Stager, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.staging.addresses.PLAIN_AT_MOST", 20 * MIB)
    faults.set("hub-xet-only", target=REPO)
    run()
    assert_whole(run)
    assert any(
        line.startswith(f"{BIG} is kept in Xet, and plain HTTP is not for more") for line in run.heard.lines
    )


@pytest.mark.parametrize("fault", ["hub-429", "hub-5xx"])
def test_a_hub_that_says_not_now_is_waited_for(run: Stager, faults: Faults, fault: str) -> None:
    faults.set(fault, count=3, value=7)
    run()
    assert faults.active() == []
    assert_whole(run)


def test_a_429_makes_all_workers_pause_as_long_as_it_says(run: Stager, faults: Faults) -> None:
    faults.set("hub-429", count=1, value=40)
    run()
    assert 40 <= run.clock.now < 80


def test_a_hub_that_stays_down_ends_with_a_next_command(run: Stager, faults: Faults) -> None:
    faults.set("hub-5xx")
    with pytest.raises(HubUnavailable) as caught:
        run()
    assert caught.value.next_command


@pytest.mark.parametrize("fault", ["hub-5xx", "hub-reset", "hub-truncated", "hub-expired-url", "hub-429"])
def test_what_is_asked_for_again_is_told_without_what_gives_access(
    run: Stager, faults: Faults, fault: str
) -> None:
    faults.set(fault, count=2, value=3)
    run()
    told = [line for line in run.heard.lines if " of 8 in " in line]
    assert told
    assert not [line for line in told if "Signature" in line or "?" in line.replace("?…", "")]


def test_requests_s3_is_asked_for_again_are_told(run: Stager, faults: Faults) -> None:
    faults.set("s3-503", target="UploadPart", count=1)
    with told_retries(run.s3, run.heard.say):
        run()
    run()
    told = [line for line in run.heard.lines if line.startswith("S3 ")]
    assert told == ["S3 UploadPart: 503 SlowDown: attempt 2 of 4 begins"]


def test_an_s3_that_is_not_there_is_told_at_each_attempt_and_ends_as_such(
    run: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    # else STS is the first that is not there
    monkeypatch.setattr(Aws, "account", ACCOUNT)
    run.s3 = Aws("us-east-1").client("s3")
    clock = itertools.count()  # a second passes between any two lines
    with (
        told_retries(run.s3, run.heard.say, clock=lambda: float(next(clock))),
        pytest.raises(CloudUnavailable) as caught,
    ):
        run()
    assert "AWS cannot be reached" in caught.value.cause
    assert caught.value.next_command
    assert [line.rpartition(": ")[2] for line in run.heard.lines] == [
        f"attempt {number} of 6 begins" for number in range(2, 7)
    ]


def test_wrong_bytes_leave_nothing_of_that_file(run: Stager, faults: Faults) -> None:
    faults.set("hub-wrong-bytes", target=f"{REPO}/{SECOND}", count=1)
    with pytest.raises(ChecksumMismatch) as caught:
        run()
    assert SECOND in caught.value.cause
    assert SECOND not in run.found()
    assert not [upload for upload in run.uploads() if upload["Key"].endswith(SECOND)]
    assert ".slipway/manifest.json" not in run.found()


def test_a_mismatch_says_which_part_came_wrong(run: Stager, faults: Faults) -> None:
    faults.set("hub-wrong-bytes", target=f"{REPO}/{SECOND}", count=1)
    with pytest.raises(ChecksumMismatch) as caught:
        run()
    [line] = [line for line in caught.value.evidence if "differently" in line]
    assert re.fullmatch(r"part [123] \(bytes \d+ to \d+\) came differently when it was read again", line)


def test_a_hub_that_keeps_other_bytes_is_told_from_a_bad_line(run: Stager) -> None:
    files = [f.model_copy(update={"sha256": "0" * 64}) if f.path == SECOND else f for f in run.model.files]
    with pytest.raises(ChecksumMismatch) as caught:
        run(run.model.model_copy(update={"files": tuple(files)}))
    assert any("the hub keeps other bytes" in line for line in caught.value.evidence)
    assert SECOND not in run.found()


def test_a_small_file_is_held_against_its_git_sha1(run: Stager) -> None:
    files = [f.model_copy(update={"git_sha1": "0" * 40}) if f.git_sha1 else f for f in run.model.files]
    with pytest.raises(ChecksumMismatch, match=r"config\.json|empty\.txt|notes on it"):
        run(run.model.model_copy(update={"files": tuple(files)}))
    assert ".slipway/manifest.json" not in run.found()


def damaged(times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """So many parts reach S3 with one byte changed on the way; their numbers."""
    hit: list[int] = []
    send_part = Bucket.send_part

    def send(self: Bucket, key: str, upload: str, number: int, body: memoryview, crc: int) -> str:
        if len(hit) < times and key.endswith(SECOND) and number == 2:
            hit.append(number)
            changed = bytearray(body)
            changed[100] ^= 1
            body = memoryview(changed)
        return send_part(self, key, upload, number, body, crc)

    monkeypatch.setattr(Bucket, "send_part", send)
    return hit


def test_a_part_s3_received_damaged_is_sent_again(run: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    hit = damaged(1, monkeypatch)
    run()
    assert hit == [2]
    assert_whole(run)


def test_a_part_that_never_arrives_undamaged_is_named(run: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(99, monkeypatch)
    with pytest.raises(
        ChecksumMismatch, match=r"part 2 \(bytes 5242880 to 10485759\) arrived at S3 damaged"
    ) as caught:
        run()
    assert SECOND in caught.value.cause
    assert SECOND not in run.found()
    assert not [upload for upload in run.uploads() if upload["Key"].endswith(SECOND)]


def test_progress_tells_each_file_under_way(run: Stager, faults: Faults) -> None:
    faults.set("hub-slow", value=6_000_000)
    run()
    details = "\n".join(run.heard.details)
    assert "of 5 files" in details
    assert re.search(rf"{BIG}: \S+ MiB of 23.0 MiB \(\d+ %\), \S+ MiB/s, \S+ s left", details)


def test_after_wrong_bytes_a_run_without_them_ends_whole(run: Stager, faults: Faults) -> None:
    faults.set("hub-wrong-bytes", target=f"{REPO}/{BIG}", count=1)
    with pytest.raises(ChecksumMismatch):
        run()
    run()
    assert_whole(run)


def test_s3_that_asks_to_slow_down_is_waited_for(run: Stager, faults: Faults) -> None:
    faults.set("s3-503", target="UploadPart", count=2)
    run()
    assert faults.active() == []
    assert_whole(run)


def test_s3_that_goes_on_asking_is_named_with_the_operation(run: Stager, faults: Faults) -> None:
    faults.set("s3-503", target="UploadPart")
    with pytest.raises(SlipwayError) as caught:
        run()
    assert "UploadPart" in str(caught.value)
    assert caught.value.next_command
    faults.clear()
    run()
    assert_whole(run)


def test_an_answer_of_s3_that_breaks_off_is_read_again(run: Stager, faults: Faults) -> None:
    run()
    faults.set("s3-disconnect", target="GetObject", count=2)
    assert run().reused
    assert faults.active() == []


def test_the_token_is_never_sent_to_the_cdn(run: Stager, sandbox: Sandbox) -> None:
    """The sandbox's CDN refuses a request that carries a token."""
    hub = Hub("hf_sandbox_reader", sandbox.hub_url)
    gated = resolve(Source(repo="slipway/tiny-llama-gated"), hub)
    staged = stage(gated, Bucket(run.s3, run.bucket, ACCOUNT), hub)
    assert staged.total_bytes == gated.total_bytes


def test_objects_are_encrypted_with_the_key_that_is_given(run: Stager, sandbox: Sandbox) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    bucket = Bucket(run.s3, run.bucket, ACCOUNT, key)
    staged = stage(run.model, bucket, Hub(endpoint=sandbox.hub_url), part_size_floor=5 * MIB)
    for path in (BIG, "config.json", ".slipway/manifest.json"):
        head = run.s3.head_object(Bucket=run.bucket, Key=f"{staged.prefix}/{path}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)


def test_parts_s3_drops_the_connection_on_are_sent_again(run: Stager, faults: Faults) -> None:
    faults.set("s3-disconnect", target="UploadPart", count=2)
    run()
    assert faults.active() == []
    assert_whole(run)


def test_a_denied_upload_names_the_operation(run: Stager, faults: Faults) -> None:
    faults.set("s3-denied", target="UploadPart")
    with pytest.raises(AccessDenied) as caught:
        run()
    assert "s3:PutObject is not allowed" in caught.value.cause
    assert any(line.startswith("UploadPart: AccessDenied") for line in caught.value.evidence)


def test_two_runs_at_once_end_in_one_good_copy(run: Stager, sandbox: Sandbox, faults: Faults) -> None:
    faults.set("hub-slow", value=20_000_000)
    failures: list[SlipwayError] = []
    staged: list[StagedModel] = []

    def one() -> None:
        try:
            staged.append(run())
        except SlipwayError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len({each.manifest_sha256 for each in staged}) == 1
    faults.clear()
    run()
    assert_whole(run)


CHILD = """
import os, sys, boto3
from botocore.config import Config
from tasks.records.results import HubModel
from tasks.staging.hub_to_s3 import stage
from tasks.staging.link import Hub
from tasks.staging.objects import Bucket
s3 = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(
    s3={"addressing_style": "path", "payload_signing_enabled": False}))
stage(HubModel.model_validate_json(sys.argv[4]), Bucket(s3, sys.argv[3], "123456789012"), Hub(endpoint=sys.argv[2]),
      workers=4, part_size_floor=5 << 20)
"""


def sent_bytes(run: Stager) -> int:
    """Bytes of parts S3 holds for uploads in progress."""
    total = 0
    for upload in run.uploads():
        # one may be completed since it was listed
        with contextlib.suppress(run.s3.exceptions.NoSuchUpload):
            parts = run.s3.list_parts(Bucket=run.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            total += sum(part["Size"] for part in parts.get("Parts", []))
    return total


def test_after_kill_9_a_run_sends_only_what_s3_does_not_hold(
    run: Stager, sandbox: Sandbox, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.set("hub-slow", value=6_000_000)
    arguments = [sandbox.aws_url, sandbox.hub_url, run.bucket, run.model.model_dump_json()]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=sandbox.variables(), cwd=ROOT)
    deadline = time.monotonic() + 60
    while sent_bytes(run) < 10 * MIB:
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    held = sent_bytes(run)
    assert ".slipway/manifest.json" not in run.found()
    faults.clear()
    sent: list[int] = []
    send_part = Bucket.send_part

    def counted(self: Bucket, key: str, upload: str, number: int, body: memoryview, crc: int) -> str:
        sent.append(len(body))
        return send_part(self, key, upload, number, body, crc)

    monkeypatch.setattr(Bucket, "send_part", counted)
    run()
    assert_whole(run)
    assert sum(sent) <= 34 * MIB + 17 - held

"""From one bucket to another, by S3 itself."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from slipway_sandbox.testing import Faults, Sandbox

from tasks.records.errors import AccessDenied, CloudError, SlipwayError, StagingFailed
from tasks.records.results import HubModel, StagedModel
from tasks.staging.hub_to_s3 import stage
from tasks.staging.inspection import inspect_staged
from tasks.staging.link import Hub
from tasks.staging.objects import Bucket
from tasks.staging.promotion import promote_copy
from tests.support.clouds import ACCOUNT
from tests.support.heard import Heard
from tests.support.hub_models import BIG, MIB


@pytest.fixture(scope="module")
def staged(sandbox: Sandbox, s3: Any, model: HubModel) -> StagedModel:
    name = f"proven-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return stage(model, Bucket(s3, name, ACCOUNT), Hub(endpoint=sandbox.hub_url), part_size_floor=5 * MIB)


def promote(staged: StagedModel, s3: Any, bucket: str, heard: Heard) -> StagedModel:
    return promote_copy(
        staged,
        Bucket(s3, staged.bucket, ACCOUNT),
        Bucket(s3, bucket, ACCOUNT),
        heard,
        one_call_at_most=16 * MIB,
        copy_part=8 * MIB,
    )


def test_the_copy_has_the_same_bytes_and_the_same_manifest(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard
) -> None:
    there = promote(staged, s3, bucket, heard)
    assert there.manifest_sha256 == staged.manifest_sha256
    key = f"{staged.prefix}/{BIG}"
    heads = [s3.head_object(Bucket=b, Key=key, ChecksumMode="ENABLED") for b in (staged.bucket, bucket)]
    assert heads[0]["ChecksumCRC64NVME"] == heads[1]["ChecksumCRC64NVME"]
    assert heard.steps[-1] == (staged.total_bytes, staged.total_bytes)


def test_a_second_promotion_copies_nothing(staged: StagedModel, s3: Any, bucket: str, heard: Heard) -> None:
    promote(staged, s3, bucket, heard)
    assert promote(staged, s3, bucket, Heard()).reused


def test_what_is_staged_says_what_the_hub_said(staged: StagedModel, s3: Any, model: HubModel) -> None:
    inspection, found = inspect_staged(Bucket(s3, staged.bucket, ACCOUNT), staged.repo, staged.commit)
    assert inspection.config == {"model_type": "llama"}
    assert inspection.tensor_bytes == {"BF16": 34 * MIB + 17 - 2 * 88}  # two shards less their headers
    assert {f.path: f.size for f in inspection.model.files} == {f.path: f.size for f in model.files}
    assert found == staged.model_copy(update={"reused": True})


def test_what_is_not_whole_cannot_be_promoted(s3: Any, bucket: str, staged: StagedModel) -> None:
    with pytest.raises(StagingFailed, match="is not whole"):
        inspect_staged(Bucket(s3, bucket, ACCOUNT), staged.repo, staged.commit)


def test_a_bucket_that_is_not_there_is_told_as_that_and_nothing_is_made(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard
) -> None:
    gone = staged.model_copy(update={"bucket": f"gone-{uuid.uuid4().hex[:12]}"})
    with pytest.raises(CloudError, match="there is no such bucket") as caught:
        promote(gone, s3, bucket, heard)
    assert gone.bucket in caught.value.cause
    assert "storage.model_bucket" in str(caught.value.next_command)
    with pytest.raises(CloudError, match="there is no such bucket"):
        promote(staged, s3, gone.bucket, heard)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_bucket_that_may_not_be_read_says_who_needs_what(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard, faults: Faults
) -> None:
    faults.set("s3-denied", target="GetObject")
    with pytest.raises(AccessDenied, match="credentials of the environment it is copied into"):
        promote(staged, s3, bucket, heard)


def test_what_was_proven_is_refused_once_its_manifest_changed(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard
) -> None:
    other = staged.model_copy(update={"manifest_sha256": "0" * 64})
    with pytest.raises(StagingFailed, match="has changed"):
        promote(other, s3, bucket, heard)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_object_that_is_not_the_proven_one_is_replaced(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard
) -> None:
    s3.put_object(Bucket=bucket, Key=f"{staged.prefix}/{BIG}", Body=b"other")
    promote(staged, s3, bucket, heard)
    head = s3.head_object(Bucket=bucket, Key=f"{staged.prefix}/{BIG}")
    assert head["ContentLength"] == 23 * MIB + 17


def test_a_copy_that_fails_leaves_no_upload_open(
    staged: StagedModel, s3: Any, bucket: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise StagingFailed("the second region is down")

    monkeypatch.setattr(Bucket, "copy_part", broken)
    with pytest.raises(SlipwayError):
        promote(staged, s3, bucket, heard)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)

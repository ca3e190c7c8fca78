"""Where S3 clients rarely go, and S3 answers all the same: seen with boto3."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from slipway_sandbox.settings import ACCESS_KEY, ACCOUNT_ID, SECRET_KEY
from tests.aws.conftest import Aws
from tests.aws.test_s3_multipart import FIRST, LAST, Upload
from tests.aws.test_s3_objects import failure

CRC = {"ChecksumAlgorithm": "CRC32C"}


def code(call: Any) -> tuple[str, int]:
    """The error's code and HTTP status."""
    with pytest.raises(ClientError) as caught:
        call()
    return failure(caught)


def test_two_thousand_objects_are_listed_in_pages_and_folded(s3: Any, bucket: str) -> None:
    names = [f"models/{n % 40:02}/shard-{n:05}" for n in range(2_100)]
    threads = [
        threading.Thread(
            target=lambda part=part: [s3.put_object(Bucket=bucket, Key=k, Body=b"") for k in part]
        )
        for part in (names[0::4], names[1::4], names[2::4], names[3::4])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="models/"))
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 100]
    assert [row["Key"] for page in pages for row in page["Contents"]] == sorted(names)
    folded = s3.list_objects_v2(Bucket=bucket, Prefix="models/", Delimiter="/")
    assert [row["Prefix"] for row in folded["CommonPrefixes"]] == [f"models/{n:02}/" for n in range(40)]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    after = s3.list_objects_v2(Bucket=bucket, StartAfter=sorted(names)[-2])
    assert [row["Key"] for row in after["Contents"]] == sorted(names)[-1:]


def test_of_many_who_write_once_one_does(s3: Any, bucket: str) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            s3.put_object(Bucket=bucket, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
            outcomes.append("written")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["PreconditionFailed"] * 7 + ["written"]


@pytest.mark.parametrize(("condition", "status"), [({"IfMatch": '"0"'}, 412), ({"IfNoneMatch": "*"}, 412)])
def test_a_copy_onto_what_is_there_keeps_its_condition(
    s3: Any, bucket: str, condition: dict[str, str], status: int
) -> None:
    s3.put_object(Bucket=bucket, Key="from", Body=b"new")
    s3.put_object(Bucket=bucket, Key="to", Body=b"old")
    source = {"Bucket": bucket, "Key": "from"}
    assert code(lambda: s3.copy_object(Bucket=bucket, Key="to", CopySource=source, **condition)) == (
        "PreconditionFailed",
        status,
    )
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"old"


def test_a_copys_source_has_conditions_of_its_own(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="from", Body=b"1")["ETag"]
    copy = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    assert code(lambda: s3.copy_object(**copy, CopySourceIfMatch='"0"')) == ("PreconditionFailed", 412)
    assert code(lambda: s3.copy_object(**copy, CopySourceIfNoneMatch=etag)) == ("PreconditionFailed", 412)
    s3.copy_object(**copy, CopySourceIfMatch=etag)


def test_part_1_of_an_object_in_one_piece_is_the_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"whole")
    assert s3.get_object(Bucket=bucket, Key="x", PartNumber=1)["Body"].read() == b"whole"
    assert code(lambda: s3.get_object(Bucket=bucket, Key="x", PartNumber=2)) == ("InvalidPartNumber", 416)


def test_a_part_copied_from_a_range_has_the_ranges_checksum(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="from", Body=FIRST + LAST)
    upload = Upload(s3, bucket, **CRC)
    source = {"Bucket": bucket, "Key": "from"}
    copied = s3.upload_part_copy(
        **upload.key, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{len(FIRST) - 1}"
    )["CopyPartResult"]
    other = Upload(s3, bucket, **CRC)
    assert copied["ChecksumCRC32C"] == other.put(1, FIRST, **CRC)["ChecksumCRC32C"]
    beyond = f"bytes=0-{len(FIRST + LAST)}"
    assert code(
        lambda: s3.upload_part_copy(**upload.key, PartNumber=2, CopySource=source, CopySourceRange=beyond)
    ) == ("InvalidArgument", 400)


def test_a_complete_that_is_no_list_of_parts_is_malformed(aws: Aws, s3: Any, bucket: str) -> None:
    upload = Upload(s3, bucket)
    body = b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber></Part></CompleteMultipartUpload>"
    url = f"{aws.settings.aws_url}/{bucket}/model?uploadId={upload.key['UploadId']}"
    request = AWSRequest("POST", url, data=body)
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(request)
    answer = urllib3.request("POST", url, body=body, headers=dict(request.headers.items()), retries=False)
    assert (answer.status, b"MalformedXML" in answer.data) == (400, True)


def test_another_owner_than_expected_is_denied(s3: Any, bucket: str) -> None:
    s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=ACCOUNT_ID)
    stranger = {"ExpectedBucketOwner": "000000000000"}
    assert code(lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"", **stranger)) == ("AccessDenied", 403)


@pytest.mark.parametrize(
    ("wanted", "got"), [("bytes=3-100", b"de"), ("bytes=-9", b"abcde"), ("bytes=4-", b"e")]
)
def test_a_range_is_cut_to_the_object(s3: Any, bucket: str, wanted: str, got: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"abcde")
    answer = s3.get_object(Bucket=bucket, Key="x", Range=wanted, ChecksumMode="ENABLED")
    assert answer["Body"].read() == got
    assert answer["ContentRange"].endswith("/5")
    assert "ChecksumCRC32" not in answer  # the object's, which a part of it cannot be held against

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums as crt
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from slipway_sandbox.aws.s3.checksums import Checksum, digest_for, over_parts
from tests.aws.conftest import Aws


def failure(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def crc64(data: bytes) -> str:
    return base64.b64encode(crt.crc64nvme(data).to_bytes(8, "big")).decode()


def test_what_is_put_comes_back(s3: Any, bucket: str) -> None:
    s3.put_object(
        Bucket=bucket, Key="a/b c+é&.txt", Body=b"hello", ContentType="text/plain", Metadata={"run": "7"}
    )
    got = s3.get_object(Bucket=bucket, Key="a/b c+é&.txt")
    assert got["Body"].read() == b"hello"
    assert (got["ContentType"], got["Metadata"]) == ("text/plain", {"run": "7"})
    assert got["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'  # noqa: S324


def test_an_empty_object_is_an_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert s3.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (
            {"ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
            "The Content-MD5 you specified did not match what we received.",
        ),
        ({"ChecksumCRC32": "AAAAAA=="}, "The CRC32 you specified did not match the calculated checksum."),
        ({"ChecksumCRC32C": "AAAAAA=="}, "The CRC32C you specified did not match the calculated checksum."),
        (
            {"ChecksumCRC64NVME": "AAAAAAAAAAA="},
            "The CRC64NVME you specified did not match the calculated checksum.",
        ),
        ({"ChecksumSHA1": base64.b64encode(bytes(20)).decode()}, "The SHA1 you specified did not match"),
        ({"ChecksumSHA256": base64.b64encode(bytes(32)).decode()}, "The SHA256 you specified did not match"),
    ],
)
def test_a_wrong_checksum_is_a_bad_digest_and_nothing_is_stored(
    s3: Any, bucket: str, claim: dict[str, str], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as error:
        s3.put_object(Bucket=bucket, Key="x", Body=b"hello", **claim)
    assert failure(error) == ("BadDigest", 400)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_each_algorithm_is_kept_and_shown_when_asked(s3: Any, bucket: str, algorithm: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"hello" * 1000, ChecksumAlgorithm=algorithm)
    member = f"Checksum{algorithm}"
    expected = digest_for(algorithm)
    expected.update(b"hello" * 1000)
    head = s3.head_object(Bucket=bucket, Key="x", ChecksumMode="ENABLED")
    assert head[member] == base64.b64encode(expected.digest()).decode()
    assert head["ChecksumType"] == "FULL_OBJECT"
    assert member not in s3.head_object(Bucket=bucket, Key="x")


def test_s3_adds_a_crc64nvme_where_the_client_gives_nothing(aws: Aws, bucket: str) -> None:
    plain = aws.client("s3", request_checksum_calculation="when_required")
    plain.put_object(Bucket=bucket, Key="x", Body=b"hello")
    assert plain.head_object(Bucket=bucket, Key="x", ChecksumMode="ENABLED")["ChecksumCRC64NVME"] == crc64(
        b"hello"
    )


def send(aws: Aws, bucket: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """A PUT written by hand, its signature unchecked as any is; (status, body)."""
    signed = (
        f"AWS4-HMAC-SHA256 Credential=AKIASLIPWAYSANDBOX00/20260101/{aws.settings.region}/s3/aws4_request"
    )
    request = urllib.request.Request(  # noqa: S310  http on loopback
        f"{aws.settings.aws_url}/{bucket}/x", body, {"Authorization": signed, **headers}, method="PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_framed_body_is_refused_rather_than_kept_with_its_frames(aws: Aws, bucket: str) -> None:
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    status, body = send(aws, bucket, b"5\r\nhello\r\n0\r\n\r\n", headers)
    assert (status, b"NotImplemented" in body) == (501, True)


def test_a_wrong_payload_hash_is_refused(aws: Aws, bucket: str) -> None:
    status, body = send(aws, bucket, b"hello", {"x-amz-content-sha256": "0" * 64})
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)


def test_two_checksums_at_once_are_refused(aws: Aws, bucket: str) -> None:
    headers = {
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-checksum-sha1": base64.b64encode(bytes(20)).decode(),
    }
    status, body = send(aws, bucket, b"hello", headers)
    assert (status, b"Expecting a single x-amz-checksum- header" in body) == (400, True)


def test_a_connection_is_kept_after_a_refusal_with_an_unread_body(aws: Aws, bucket: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", aws.settings.aws_port, timeout=10)
    for _ in range(2):
        connection.request("PUT", f"/{bucket}/x", b"1" * 1_000_000)
        response = connection.getresponse()
        assert (response.status, b"AccessDenied" in response.read()) == (403, True)
        assert connection.sock is not None
    connection.close()


def test_a_client_that_waits_for_continue_is_refused_before_it_sends(aws: Aws, bucket: str) -> None:
    with socket.create_connection(("127.0.0.1", aws.settings.aws_port), timeout=5) as raw:
        head = f"PUT /{bucket}/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=5-100", b"56789", "bytes 5-9/10"),
    ],
)
def test_a_range_is_answered_with_206(
    s3: Any, bucket: str, asked: str, expected: bytes, content_range: str
) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="x", Range=asked)
    assert (got["Body"].read(), got["ContentRange"]) == (expected, content_range)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_beyond_the_end_is_416(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"0123456789")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="x", Range="bytes=10-")
    assert failure(error) == ("InvalidRange", 416)


def test_if_none_match_star_writes_once(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="manifest", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="manifest", Body=b"2", IfNoneMatch="*")
    assert failure(error) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="manifest")["Body"].read() == b"1"


def test_if_match_replaces_only_what_was_seen(s3: Any, bucket: str) -> None:
    seen = s3.put_object(Bucket=bucket, Key="state", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="state", Body=b"2", IfMatch=seen)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="state", Body=b"3", IfMatch=seen)
    assert failure(error) == ("PreconditionFailed", 412)


def test_reads_keep_their_conditions(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="x", Body=b"1")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="x", IfNoneMatch=etag)
    assert failure(error)[1] == 304
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="x", IfMatch='"other"')
    assert failure(error)[1] == 412


def test_a_missing_key_is_no_such_key(s3: Any, bucket: str) -> None:
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="nothing")


def test_a_copy_has_the_bytes_metadata_and_checksum(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"hello", Metadata={"k": "v"}, ChecksumAlgorithm="SHA256")
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    s3.delete_object(Bucket=bucket, Key="a")
    got = s3.get_object(Bucket=bucket, Key="b", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["Metadata"]) == (b"hello", {"k": "v"})
    assert got["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"hello").digest()).decode()


def test_kms_makes_the_etag_something_else_than_the_md5(s3: Any, bucket: str) -> None:
    put = s3.put_object(
        Bucket=bucket, Key="x", Body=b"hello", ServerSideEncryption="aws:kms", SSEKMSKeyId="k"
    )
    assert put["ETag"] != f'"{hashlib.md5(b"hello").hexdigest()}"'  # noqa: S324
    assert s3.head_object(Bucket=bucket, Key="x")["SSEKMSKeyId"] == "k"


def test_the_fault_s3_denied_names_who_and_what(aws: Aws, s3: Any, bucket: str) -> None:
    aws.faults.set("s3-denied", target="PutObject")
    with pytest.raises(
        ClientError, match="slipway-operator is not authorized to perform: s3:PutObject"
    ) as error:
        s3.put_object(Bucket=bucket, Key="x", Body=b"1" * 1_000_000)
    assert failure(error) == ("AccessDenied", 403)


def test_the_fault_s3_503_is_slow_down(aws: Aws, s3: Any, bucket: str) -> None:
    aws.faults.set("s3-503", target="HeadObject", count=1)
    s3.put_object(Bucket=bucket, Key="x", Body=b"1")
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="x")
    assert failure(error)[1] == 503
    assert s3.head_object(Bucket=bucket, Key="x")["ContentLength"] == 1


def test_the_fault_s3_disconnect_cuts_a_download_in_the_middle(aws: Aws, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"1" * 5_000_000)
    aws.faults.set("s3-disconnect", target="GetObject", count=1)
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken|reset"):
        s3.get_object(Bucket=bucket, Key="x")["Body"].read()
    assert len(s3.get_object(Bucket=bucket, Key="x")["Body"].read()) == 5_000_000


def test_the_fault_s3_disconnect_cuts_an_upload_and_leaves_nothing(aws: Aws, s3: Any, bucket: str) -> None:
    aws.faults.set("s3-disconnect", target="PutObject", count=1)
    with pytest.raises(Exception, match=r"Connection|closed|reset|Broken"):
        s3.put_object(Bucket=bucket, Key="x", Body=b"1" * 5_000_000)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_unsigned_request_is_denied(aws: Aws, bucket: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{aws.settings.aws_url}/{bucket}/x", timeout=5)  # noqa: S310
    assert error.value.code == 403


def test_a_presigned_url_reads_the_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"hello")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "x"})
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
        assert response.read() == b"hello"


def test_the_service_moves_bodies_without_holding_them(
    aws: Aws, s3: Any, bucket: str, tmp_path: Path
) -> None:
    size = 200 << 20
    sparse = tmp_path / "model"
    with sparse.open("wb") as file:
        file.truncate(size)
    before = aws.resident()
    with sparse.open("rb") as file:
        s3.put_object(
            Bucket=bucket, Key="big", Body=file, ServerSideEncryption="aws:kms", ChecksumAlgorithm="CRC64NVME"
        )
    body = s3.get_object(Bucket=bucket, Key="big")["Body"]
    assert sum(len(block) for block in body.iter_chunks(1 << 20)) == size
    assert aws.resident() - before < 40 << 20
    s3.delete_object(Bucket=bucket, Key="big")


@given(blocks=st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=6))
def test_combined_crcs_are_the_crc_of_the_whole(blocks: list[bytes]) -> None:
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
        parts, whole = [], digest_for(algorithm)
        for block in blocks:
            one = digest_for(algorithm)
            one.update(block)
            whole.update(block)
            parts.append((Checksum(algorithm, one.digest()), len(block)))
        assert over_parts(algorithm, "FULL_OBJECT", parts).digest == whole.digest()


def test_what_is_not_here_of_an_object_says_so(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"1")
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.get_object_tagging(Bucket=bucket, Key="x")

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from awscrt import checksums as crt
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.aws.conftest import Aws
from tests.aws.test_s3_objects import crc64, failure

MIN = 5 << 20
FIRST, LAST = bytes(range(256)) * (MIN // 256), b"the end"
CRC = {"ChecksumAlgorithm": "CRC64NVME"}


class Upload:
    """One multipart upload through low-level calls, as the product's staging makes them."""

    def __init__(self, s3: Any, bucket: str, **create: Any) -> None:
        self.s3, self.key = s3, {"Bucket": bucket, "Key": "model"}
        self.made = s3.create_multipart_upload(**self.key, **create)
        self.key["UploadId"] = self.made["UploadId"]
        self.parts: list[dict[str, Any]] = []

    def put(self, number: int, data: bytes, **more: Any) -> dict[str, Any]:
        done = self.s3.upload_part(**self.key, PartNumber=number, Body=data, **more)
        checksums = {k: v for k, v in done.items() if k.startswith("Checksum") and k != "ChecksumType"}
        self.parts.append({"PartNumber": number, "ETag": done["ETag"], **checksums})
        return dict(done)

    def complete(self, parts: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
        wanted = {"Parts": self.parts if parts is None else parts}
        return dict(self.s3.complete_multipart_upload(**self.key, MultipartUpload=wanted, **more))


@pytest.fixture
def upload(s3: Any, bucket: str) -> Upload:
    made = Upload(s3, bucket, ChecksumType="FULL_OBJECT", **CRC)
    made.put(1, FIRST, **CRC)
    made.put(2, LAST, **CRC)
    return made


def test_the_whole_is_its_parts_in_order_with_a_full_object_checksum(
    s3: Any, bucket: str, upload: Upload
) -> None:
    done = upload.complete(ChecksumCRC64NVME=crc64(FIRST + LAST), ChecksumType="FULL_OBJECT")
    assert (done["ChecksumCRC64NVME"], done["ChecksumType"]) == (crc64(FIRST + LAST), "FULL_OBJECT")
    assert done["ETag"].endswith('-2"')
    got = s3.get_object(Bucket=bucket, Key="model", ChecksumMode="ENABLED")
    assert got["Body"].read() == FIRST + LAST
    assert got["ChecksumCRC64NVME"] == crc64(FIRST + LAST)


def test_a_wrong_full_object_checksum_is_a_bad_digest_and_the_upload_stays(
    s3: Any, bucket: str, upload: Upload
) -> None:
    with pytest.raises(ClientError, match="The crc64nvme you specified did not match") as error:
        upload.complete(ChecksumCRC64NVME=crc64(b"other"))
    assert failure(error) == ("BadDigest", 400)
    assert len(s3.list_parts(**upload.key)["Parts"]) == 2
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_part_with_a_wrong_checksum_is_not_kept(s3: Any, bucket: str) -> None:
    upload = Upload(s3, bucket, **CRC)
    with pytest.raises(ClientError, match="The CRC64NVME you specified") as error:
        upload.put(1, LAST, ChecksumCRC64NVME=crc64(b"other"))
    assert failure(error)[0] == "BadDigest"
    assert "Parts" not in s3.list_parts(**upload.key)


def test_list_parts_shows_size_and_checksum_of_each(s3: Any, upload: Upload) -> None:
    listed = s3.list_parts(**upload.key)
    assert [(p["PartNumber"], p["Size"], p["ChecksumCRC64NVME"]) for p in listed["Parts"]] == [
        (1, MIN, crc64(FIRST)),
        (2, len(LAST), crc64(LAST)),
    ]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("CRC64NVME", "FULL_OBJECT")


def test_list_parts_is_paged(s3: Any, upload: Upload) -> None:
    first = s3.list_parts(**upload.key, MaxParts=1)
    assert (first["IsTruncated"], first["NextPartNumberMarker"]) == (True, 1)
    rest = s3.list_parts(**upload.key, PartNumberMarker=1)
    assert [part["PartNumber"] for part in rest["Parts"]] == [2]


def test_if_none_match_keeps_what_is_there_and_the_upload(s3: Any, bucket: str, upload: Upload) -> None:
    s3.put_object(Bucket=bucket, Key="model", Body=b"first")
    with pytest.raises(ClientError) as error:
        upload.complete(IfNoneMatch="*")
    assert failure(error) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="model")["Body"].read() == b"first"
    s3.delete_object(Bucket=bucket, Key="model")
    assert upload.complete(IfNoneMatch="*")["ETag"]


def test_parts_out_of_order_are_refused(upload: Upload) -> None:
    with pytest.raises(ClientError) as error:
        upload.complete(upload.parts[::-1])
    assert failure(error) == ("InvalidPartOrder", 400)


def test_a_part_with_another_etag_is_invalid(upload: Upload) -> None:
    with pytest.raises(ClientError) as error:
        upload.complete([{**upload.parts[0], "ETag": '"0"'}, upload.parts[1]])
    assert failure(error) == ("InvalidPart", 400)


def test_a_small_part_before_the_last_is_too_small(s3: Any, bucket: str) -> None:
    upload = Upload(s3, bucket, **CRC)
    upload.put(1, LAST, **CRC)
    upload.put(2, LAST, **CRC)
    with pytest.raises(ClientError) as error:
        upload.complete()
    assert failure(error) == ("EntityTooSmall", 400)


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_run_from_1_to_10000(upload: Upload, number: int) -> None:
    with pytest.raises(ClientError, match="between 1 and 10000"):
        upload.put(number, LAST, **CRC)


def test_a_part_sent_again_replaces_the_first(s3: Any, bucket: str, upload: Upload) -> None:
    upload.parts.pop()
    upload.put(2, b"another end", **CRC)
    upload.complete()
    assert s3.get_object(Bucket=bucket, Key="model")["Body"].read() == FIRST + b"another end"


def test_a_sha256_upload_is_composite_and_needs_every_parts_checksum(s3: Any, bucket: str) -> None:
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256")
    upload.put(1, FIRST, ChecksumAlgorithm="SHA256")
    upload.put(2, LAST, ChecksumAlgorithm="SHA256")
    bare = [{key: part[key] for key in ("PartNumber", "ETag")} for part in upload.parts]
    with pytest.raises(ClientError, match="must include the checksum for each part"):
        upload.complete(bare)
    outer = hashlib.sha256(hashlib.sha256(FIRST).digest() + hashlib.sha256(LAST).digest()).digest()
    done = upload.complete()
    assert done["ChecksumSHA256"] == base64.b64encode(outer).decode() + "-2"
    assert done["ChecksumType"] == "COMPOSITE"


@pytest.mark.parametrize(("algorithm", "kind"), [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")])
def test_some_algorithms_have_one_type_only(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    with pytest.raises(ClientError, match=f"The {kind} checksum type cannot be used"):
        Upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)


def test_a_part_of_another_algorithm_is_a_mismatch(upload: Upload) -> None:
    with pytest.raises(ClientError, match="expected checksum Type: crc64nvme, actual checksum Type: crc32"):
        upload.put(3, LAST, ChecksumAlgorithm="CRC32")


def test_head_counts_the_parts(s3: Any, bucket: str, upload: Upload) -> None:
    upload.complete()
    head = s3.head_object(Bucket=bucket, Key="model", PartNumber=2)
    assert (head["PartsCount"], head["ContentLength"]) == (2, len(LAST))


def test_a_range_may_span_parts(s3: Any, bucket: str, upload: Upload) -> None:
    upload.complete()
    got = s3.get_object(Bucket=bucket, Key="model", Range=f"bytes={MIN - 3}-{MIN + 2}")["Body"].read()
    assert got == FIRST[-3:] + LAST[:3]


def test_parts_can_be_copied_from_an_object(s3: Any, bucket: str, upload: Upload) -> None:
    upload.complete()
    copy = Upload(s3, bucket, **CRC)
    part = s3.upload_part_copy(
        **copy.key,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "model"},
        CopySourceRange=f"bytes=0-{MIN - 1}",
    )["CopyPartResult"]
    assert part["ChecksumCRC64NVME"] == crc64(FIRST)
    copy.complete([{"PartNumber": 1, "ETag": part["ETag"]}])
    assert s3.head_object(Bucket=bucket, Key="model")["ContentLength"] == MIN


def test_an_aborted_upload_is_gone_with_its_files(aws: Aws, s3: Any, bucket: str, upload: Upload) -> None:
    folder = aws.settings.root / "s3"
    before = sum(path.is_file() for path in folder.rglob("*"))
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [
        upload.key["UploadId"]
    ]
    s3.abort_multipart_upload(**upload.key)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert sum(path.is_file() for path in folder.rglob("*")) == before - 2
    with pytest.raises(s3.exceptions.NoSuchUpload):
        upload.put(3, LAST, **CRC)


def test_boto3s_own_transfer_goes_through(s3: Any, bucket: str, tmp_path: Any) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(FIRST * 3 + LAST)
    s3.upload_file(
        str(source), bucket, "model", Config=TransferConfig(multipart_threshold=MIN, multipart_chunksize=MIN)
    )
    back = tmp_path / "back.bin"
    s3.download_file(
        bucket, "model", str(back), Config=TransferConfig(multipart_threshold=MIN, multipart_chunksize=MIN)
    )
    assert crt.crc64nvme(back.read_bytes()) == crt.crc64nvme(source.read_bytes())

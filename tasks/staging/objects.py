"""S3 requests of staging on one bucket: always with checksums, conditional where two runs could meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from tasks.cloud.aws import aws_errors, error_code
from tasks.records.errors import CloudError
from tasks.staging.hashes import encoded

BODY_ATTEMPTS = 5
WINDOW = 1 << 20  # bytes handed to a socket at a time


class AlreadyThere(Exception):
    """A conditional write was refused: somebody else wrote first."""


class UploadGone(Exception):
    """The multipart upload was completed or aborted by somebody else."""


class DamagedPart(Exception):
    """S3 received a part with another checksum than was sent."""


@dataclass(frozen=True)
class ObjectHead:
    """One object. `crc64nvme`: base64, of the full object; None where S3 keeps none."""

    size: int
    etag: str
    crc64nvme: str | None


@dataclass(frozen=True)
class SentPart:
    """A part that S3 holds. `crc64nvme` is base64; None where S3 reports none."""

    number: int
    size: int
    etag: str
    crc64nvme: str | None


class PartReader:
    """A file over a buffer, without a copy: boto3 reads it, and seeks for a retry.

    `read` gives WINDOW bytes where fewer are asked for: boto3's transport asks for 16 KiB at a time and hands each
    answer to the socket as it comes, two thousand calls for a part. (A bytearray it would copy, to sign it.)
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int | None = -1) -> memoryview:
        whole = count is None or count < 0
        end = len(self._data) if whole else min(len(self._data), self._at + max(count or 0, WINDOW))
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._data))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def __len__(self) -> int:
        return len(self._data)


class Bucket:
    """`s3` is a boto3 client of `Aws`, which sends the owner `account` with every call, and safe to share.

    Raises AccessDenied or CloudError where AWS refuses.
    """

    def __init__(self, s3: Any, name: str, account: str, kms_key_arn: str | None = None) -> None:
        self.s3, self.name, self.account = s3, name, account
        self._encryption: dict[str, Any] = {}
        if kms_key_arn:
            self._encryption = {
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": kms_key_arn,
                "BucketKeyEnabled": True,
            }

    def head(self, key: str) -> ObjectHead | None:
        with self._errors(key):
            try:
                answer = self.s3.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error_code(error) in ("404", "NoSuchKey"):
                    return None
                raise
        full = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return ObjectHead(
            answer["ContentLength"], answer["ETag"], answer.get("ChecksumCRC64NVME") if full else None
        )

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of every object whose key starts with `prefix`, by key."""
        with self._errors(prefix):
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}

    def get(self, key: str) -> tuple[bytes, str] | None:
        """Read a small object. Returns (its bytes, its ETag), or None."""
        return self._read(key)

    def stream(self, key: str, offset: int, size: int) -> bytes:
        """Read bytes [offset, offset + size) of an object. Raises CloudError where it has not so many."""
        read = self._read(key, Range=f"bytes={offset}-{offset + size - 1}")
        if read is None or len(read[0]) != size:
            raise CloudError(f"s3://{self.name}/{key} changed while it was read")
        return read[0]

    def _read(self, key: str, **span: str) -> tuple[bytes, str] | None:
        """Read a body, again where it breaks off: boto3 retries requests, but not bodies."""
        with self._errors(key):
            for attempt in range(1, BODY_ATTEMPTS + 1):
                try:
                    answer = self.s3.get_object(Bucket=self.name, Key=key, **span)
                    return answer["Body"].read(), answer["ETag"]
                except ClientError as error:
                    if error_code(error) in ("404", "NoSuchKey"):
                        return None
                    raise
                except (ResponseStreamingError, IncompleteReadError, ReadTimeoutError):
                    if attempt == BODY_ATTEMPTS:
                        raise
        raise AssertionError("every way out is above")

    def put(self, key: str, body: bytes | memoryview, crc: int, *, instead_of: str | None = None) -> None:
        """Write an object where there is none, or in place of the one with ETag `instead_of`. Raises AlreadyThere."""
        condition = {"IfMatch": instead_of} if instead_of else {"IfNoneMatch": "*"}
        with self._errors(key):
            self.s3.put_object(
                Bucket=self.name,
                Key=key,
                Body=PartReader(memoryview(body)),
                ContentLength=len(body),
                ChecksumCRC64NVME=encoded(crc),
                **condition,
                **self._encryption,
            )

    def delete(self, key: str) -> None:
        with self._errors(key):
            self.s3.delete_object(Bucket=self.name, Key=key)

    def open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """List (key, upload id) of every multipart upload in progress, oldest first for a key."""
        with self._errors(prefix):
            pages = self.s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            return [(item["Key"], item["UploadId"]) for page in pages for item in page.get("Uploads", ())]

    def sent_parts(self, key: str, upload: str) -> dict[int, SentPart]:
        """List the parts of an upload, by number. Raises UploadGone."""
        with self._errors(key):
            pages = self.s3.get_paginator("list_parts").paginate(Bucket=self.name, Key=key, UploadId=upload)
            return {
                item["PartNumber"]: SentPart(
                    item["PartNumber"], item["Size"], item["ETag"], item.get("ChecksumCRC64NVME")
                )
                for page in pages
                for item in page.get("Parts", ())
            }

    def create_upload(self, key: str) -> str:
        with self._errors(key):
            upload: str = self.s3.create_multipart_upload(
                Bucket=self.name,
                Key=key,
                ChecksumAlgorithm="CRC64NVME",
                ChecksumType="FULL_OBJECT",
                **self._encryption,
            )["UploadId"]
            return upload

    def send_part(self, key: str, upload: str, number: int, body: memoryview, crc: int) -> str:
        """Send a part. Returns its ETag. Raises UploadGone, or DamagedPart where S3 computes another checksum."""
        with self._errors(key), _damage(key, number):
            etag: str = self.s3.upload_part(
                Bucket=self.name,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=PartReader(body),
                ContentLength=len(body),
                ChecksumCRC64NVME=encoded(crc),
            )["ETag"]
            return etag

    def copy_part(self, key: str, upload: str, number: int, source: Bucket, offset: int, size: int) -> str:
        """Have S3 make a part from a range of the object of the same key in `source`. Returns its ETag. Raises UploadGone."""
        with self._errors(key):
            answer = self.s3.upload_part_copy(
                Bucket=self.name,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": source.name, "Key": key},
                ExpectedSourceBucketOwner=source.account,
                CopySourceRange=f"bytes={offset}-{offset + size - 1}",
            )
            etag: str = answer["CopyPartResult"]["ETag"]
            return etag

    def copy(self, key: str, source: Bucket) -> str | None:
        """Have S3 copy the object of that key, of at most 5 GiB, from `source`. Returns the copy's CRC64NVME in base64."""
        with self._errors(key):
            answer = self.s3.copy_object(
                Bucket=self.name,
                Key=key,
                CopySource={"Bucket": source.name, "Key": key},
                ExpectedSourceBucketOwner=source.account,
                ChecksumAlgorithm="CRC64NVME",
                MetadataDirective="COPY",
                **self._encryption,
            )
        crc: str | None = answer["CopyObjectResult"].get("ChecksumCRC64NVME")
        return crc

    def complete(self, key: str, upload: str, etags: Sequence[str], size: int, crc64nvme: str) -> None:
        """Complete an upload: the object is visible if S3 computes the same CRC. Raises AlreadyThere, UploadGone."""
        with self._errors(key):
            self.s3.complete_multipart_upload(
                Bucket=self.name,
                Key=key,
                UploadId=upload,
                MultipartUpload={
                    "Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, start=1)]
                },
                ChecksumCRC64NVME=crc64nvme,
                ChecksumType="FULL_OBJECT",
                MpuObjectSize=size,
                IfNoneMatch="*",
            )

    def abort(self, key: str, upload: str) -> None:
        """Abort an upload, and delete its parts; one that is gone already is fine."""
        try:
            with self._errors(key):
                self.s3.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        except UploadGone:
            return

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        with aws_errors(f"s3://{self.name}/{key}"):
            try:
                yield
            except ClientError as error:
                code = error_code(error)
                if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                    raise AlreadyThere(key) from error
                if code == "NoSuchUpload":
                    raise UploadGone(key) from error
                raise


@contextmanager
def _damage(key: str, number: int) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error_code(error) in ("BadDigest", "XAmzContentChecksumMismatch"):
            raise DamagedPart(f"part {number} of {key}: {error_code(error)}") from error
        raise

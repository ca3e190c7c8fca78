"""The staged model in S3: ranged reads that go on where a connection broke."""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.httpsession import get_cert_path

from exits import Exit, Failure
from manifest import Wanted, listed
from options import Options
from report import tell

WINDOW = 1 << 20  # read, written and counted at once: while it is in the processor's caches
ATTEMPTS = 6
READ_SECONDS, URL_SECONDS = 60.0, 900
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")


def client(connections: int) -> Any:
    """An S3 client whose presigned URLs are for the job's region."""
    config = Config(
        connect_timeout=10,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "max_attempts": 5},
        # else botocore presigns for the global endpoint, not the region's
        s3={"addressing_style": "virtual"},
        # what KMS wants of a presigned URL; some regions still presign the old way
        signature_version="s3v4",
        max_pool_connections=connections,
    )
    # boto3 itself reads AWS_DEFAULT_REGION only; a presigned URL of another region than the bucket's is not redirected
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


class Wire:
    """Ranged GETs by presigned URLs, one connection a thread, so that a body is read straight into the caller's memory.

    boto3 copies a body three times under the interpreter's lock, which costs more than the hash.
    """

    def __init__(self, s3: Any, bucket: str, owner: str) -> None:
        self._s3, self._bucket, self._owner = s3, bucket, owner
        self._here = threading.local()
        self._trusted = ssl.create_default_context(cafile=get_cert_path(True))

    def open(self, key: str, first: int, last: int) -> HTTPResponse:
        """Request bytes `first` to `last`; the answer's body is unread.

        Raises Failure, ConnectionError where another try may help, and what sockets and botocore raise.
        """
        parameters = {"Bucket": self._bucket, "Key": key, "ExpectedBucketOwner": self._owner}
        url = urlsplit(
            self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_SECONDS)
        )
        connection = self._connection(url.scheme, url.netloc)
        headers = {
            "Range": f"bytes={first}-{last}",
            "Accept-Encoding": "identity",
            # the URL's signature covers it: S3 refuses a request without it
            "x-amz-expected-bucket-owner": self._owner,
        }
        connection.request("GET", f"{url.path}?{url.query}", headers=headers)
        answer = connection.getresponse()
        where = f"s3://{self._bucket}/{key}"
        if answer.status == 206:
            content_range = answer.getheader("Content-Range", "")
            if not content_range.startswith(f"bytes {first}-{last}/"):
                raise Failure(
                    Exit.BAD_DATA, f"{where}: asked for bytes {first} to {last}, got {content_range!r}"
                )
            return answer
        words = answer.read(WINDOW).decode(errors="replace")
        code = next(iter(_S3_CODE.findall(words)), str(answer.status))
        self.drop()
        if answer.status == 429 or answer.status >= 500:
            raise ConnectionError(f"{answer.status} {code}")
        if answer.status in (200, 416):
            raise Failure(
                Exit.BAD_DATA, f"{where} is not as long as the manifest says: {answer.status} {code}"
            )
        raise refused(code, where, f"{answer.status} {code}")

    def drop(self) -> None:
        """Close this thread's connection: what is left on it belongs to no request."""
        connection = self._here.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self, scheme: str, host: str) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._here, "connection", None)
        if connection is None:
            if scheme == "https":
                connection = HTTPSConnection(host, timeout=READ_SECONDS, context=self._trusted)
            else:
                connection = HTTPConnection(host, timeout=READ_SECONDS)
            self._here.connection = connection
        return connection


class Source:
    """The staged files of one commit."""

    def __init__(self, s3: Any, options: Options) -> None:
        self._s3, self._options = s3, options
        self._wire = Wire(s3, options.bucket, options.bucket_owner)

    def manifest(self) -> list[Wanted]:
        """The files to have on the volume. Raises Failure."""
        return listed(self._small(".slipway/manifest.json"), self._options.manifest_sha256)

    def read(self, path: str, offset: int, size: int, room: memoryview) -> Iterator[int]:
        """Stream `size` bytes from `offset` into `room`; yield the number of valid bytes each time it fills, and at the
        end. A broken connection costs only what had not arrived."""
        taken = got = attempt = 0
        while taken + got < size:
            before = taken + got
            problem: Exception | None = None
            try:
                answer = self._wire.open(self._key(path), offset + before, offset + size - 1)
                while problem is None and taken + got < size:
                    count = answer.readinto(room[got : min(got + WINDOW, size - taken)])
                    got += count
                    if not count:
                        problem = EOFError("the body ended early")
                    elif got == len(room) or taken + got == size:
                        yield got
                        taken, got = taken + got, 0
            except NoCredentialsError as error:
                raise Failure(Exit.DENIED, f"{path}: no AWS credentials any more") from error
            except (BotoCoreError, OSError, HTTPException) as error:
                problem = error
            if problem is None:
                return
            self._wire.drop()
            attempt = 1 if taken + got > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise Failure(Exit.NO_ANSWER, f"S3 does not deliver {path}: {problem}") from problem
            wait_again(path, problem, attempt)

    def _key(self, path: str) -> str:
        return f"{self._options.prefix}/{path}"

    def _small(self, path: str) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                body: bytes = self._get(path)["Body"].read()
            except (BotoCoreError, OSError) as error:  # noqa: PERF203  a request takes longer
                if attempt == ATTEMPTS:
                    raise Failure(Exit.NO_ANSWER, f"S3 does not deliver {path}: {error}") from error
                wait_again(path, error, attempt)
            else:
                return body
        raise AssertionError("every way out is above")

    def _get(self, path: str) -> Any:
        where = f"s3://{self._options.bucket}/{self._key(path)}"
        try:
            return self._s3.get_object(
                Bucket=self._options.bucket,
                Key=self._key(path),
                ExpectedBucketOwner=self._options.bucket_owner,
            )
        except NoCredentialsError as error:
            cause = f"no AWS credentials for {where}: no pod identity for this account"
            raise Failure(Exit.DENIED, cause) from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise refused(code, where, str(error)) from error


def wait_again(path: str, problem: Exception, attempt: int) -> None:
    """Back off after `attempt` attempts without a byte, and say why there is another."""
    seconds = min(8.0, 0.2 * 2**attempt)
    tell("note", text=f"{path}: S3: {problem}: attempt {attempt + 1} of {ATTEMPTS} in {seconds:.1f} s")
    time.sleep(seconds)


def refused(code: str, where: str, words: str) -> Failure:
    """The failure for an error answer of S3. `code` is S3's own, or the HTTP status."""
    if code in ("AccessDenied", "403", "InvalidAccessKeyId", "ExpiredToken"):
        return Failure(Exit.DENIED, f"S3 denies {where}: {words}")
    if code in ("NoSuchKey", "NoSuchBucket", "404"):
        return Failure(Exit.NOT_FOUND, f"{where} is not there: {code}")
    return Failure(Exit.NO_ANSWER, f"S3 refuses {where}: {words}")

"""A body on its way in: decoded, hashed and written in blocks of 1 MiB, and refused where a checksum does not hold.

Clients frame a body (aws-chunked, with trailers) over HTTPS only: here, over HTTP, a framed one is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slipway_sandbox.aws.s3 import checksums
from slipway_sandbox.aws.s3.checksums import Checksum, Digest
from slipway_sandbox.aws.s3.errors import S3Error

BLOCK = 1 << 20
SIZE_LIMIT = 5 << 30  # of one PUT or part


class Stream(Protocol):
    def readinto(self, buffer: Any, /) -> int: ...


@dataclass
class Received:
    """What came: its size, MD5 (hex, where it was asked for) and the checksum to keep with it."""

    size: int
    md5: str | None
    checksum: Checksum


@dataclass
class Expectation:
    """What the request says of its own body, read from the headers before any byte is taken."""

    length: int
    algorithm: str | None
    digest: bytes | None
    md5: bytes | None
    sha256: str | None
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Expectation:
        """Raises S3Error where the headers contradict each other."""
        payload = headers.get("x-amz-content-sha256", "")
        if payload.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", ""):
            raise S3Error("NotImplemented", "the sandbox's S3 reads no aws-chunked bodies")
        claim = checksums.claimed(headers)
        named = headers.get("x-amz-sdk-checksum-algorithm")
        if named and not claim:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        algorithm = claim[0] if claim else None
        if named and algorithm and named.upper() != algorithm:
            raise S3Error(
                "InvalidRequest",
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                ArgumentValue=named,
            )
        return cls(
            length=_length(headers),
            algorithm=algorithm,
            digest=checksums.decode(*claim) if claim else None,
            md5=_content_md5(headers),
            sha256=payload if len(payload) == 64 else None,
            headers=headers,
        )


def _length(headers: Mapping[str, str]) -> int:
    """Bytes of the body."""
    text = headers.get("content-length")
    if text is None:
        raise S3Error("MissingContentLength")
    if not text.isdigit():
        raise S3Error("InvalidArgument", f"the length {text!r} is no number")
    if int(text) > SIZE_LIMIT:
        raise S3Error("EntityTooLarge", ProposedSize=text, MaxSizeAllowed=SIZE_LIMIT)
    return int(text)


def _content_md5(headers: Mapping[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest")
    return raw


def receive(
    stream: Stream,
    expected: Expectation,
    path: Path,
    *,
    md5: bool,
    algorithm: str | None = None,
    interrupt: Callable[[int], None] = lambda _: None,
) -> Received:
    """Write the body to `path`. `md5`: work the MD5 out, for an ETag. `algorithm`: the checksum to keep where the
    request names none. `interrupt(bytes so far)` may raise. Raises S3Error; the caller removes the file.
    """
    keep = expected.algorithm or algorithm or checksums.DEFAULT
    digest = checksums.digest_for(keep)
    taken: list[Digest] = [digest]
    hasher = hashlib.md5(usedforsecurity=False) if md5 or expected.md5 else None
    payload = hashlib.sha256() if expected.sha256 and keep != "SHA256" else None
    taken += [d for d in (hasher, payload) if d is not None]
    size = 0
    buffer = memoryview(bytearray(min(BLOCK, max(expected.length, 1))))
    with path.open("wb", buffering=0) as file:
        while got := stream.readinto(buffer):
            block = buffer[:got]
            for each in taken:
                each.update(block)
            file.write(block)
            size += got
            interrupt(size)
    if expected.length != size:
        raise S3Error("IncompleteBody")
    if hasher and expected.md5 and hasher.digest() != expected.md5:
        raise S3Error(
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            ExpectedDigest=expected.md5.hex(),
            CalculatedDigest=base64.b64encode(hasher.digest()).decode(),
        )
    sha256 = payload.hexdigest() if payload else digest.digest().hex()
    if expected.sha256 and not hmac.compare_digest(expected.sha256, sha256):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=expected.sha256,
            S3ComputedContentSHA256=sha256,
        )
    if expected.digest is not None and digest.digest() != expected.digest:
        raise S3Error("BadDigest", f"The {keep} you specified did not match the calculated checksum.")
    return Received(size, hasher.hexdigest() if hasher else None, Checksum(keep, digest.digest()))

"""A body on its way in: decoded, hashed and written in blocks of 1 MiB, and refused where a checksum does not hold.

Formats: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html. Chunk
signatures are not verified; every checksum and the payload hash are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slipway_sandbox.aws.http import Truncated
from slipway_sandbox.aws.s3 import checksums
from slipway_sandbox.aws.s3.checksums import Checksum, Digest
from slipway_sandbox.aws.s3.errors import S3Error

BLOCK = 1 << 20
LINE_LIMIT = 8192
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
    framed: bool  # aws-chunked
    algorithm: str | None
    digest: bytes | None
    trailer: str | None
    md5: bytes | None
    sha256: str | None
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, headers: Mapping[str, str], *, chunked: bool) -> Expectation:
        """Raises S3Error where the headers contradict each other."""
        payload = headers.get("x-amz-content-sha256", "")
        framed = payload.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", "")
        claim = checksums.claimed(headers)
        trailer = headers.get("x-amz-trailer", "").strip().lower() or None
        if trailer and not trailer.startswith(checksums.HEADER):
            raise S3Error(
                "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
            )
        if trailer and claim:
            raise S3Error(
                "InvalidRequest",
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            )
        named = headers.get("x-amz-sdk-checksum-algorithm")
        if named and not claim and not trailer:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        algorithm = claim[0] if claim else None
        if trailer:
            algorithm = checksums.algorithm_named(trailer.removeprefix(checksums.HEADER))
        if named and algorithm and named.upper() != algorithm:
            raise S3Error(
                "InvalidRequest",
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                ArgumentValue=named,
            )
        return cls(
            length=_length(headers, framed=framed, chunked=chunked),
            framed=framed,
            algorithm=algorithm,
            digest=checksums.decode(*claim) if claim else None,
            trailer=trailer,
            md5=_content_md5(headers),
            sha256=payload if len(payload) == 64 else None,
            headers=headers,
        )


def _length(headers: Mapping[str, str], *, framed: bool, chunked: bool) -> int:
    """Bytes of the decoded body; -1 where only the framing tells."""
    text = headers.get("x-amz-decoded-content-length") if framed else headers.get("content-length")
    if text is None:
        if chunked and not framed:
            return -1
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
    claimed_digest = expected.digest
    source: Any = Framed(stream) if expected.framed else stream
    buffer = memoryview(bytearray(min(BLOCK, max(expected.length, 1)) if expected.length >= 0 else BLOCK))
    with path.open("wb", buffering=0) as file:
        while got := source.readinto(buffer):
            block = buffer[:got]
            for each in taken:
                each.update(block)
            file.write(block)
            size += got
            interrupt(size)
            if size > SIZE_LIMIT:
                raise S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=SIZE_LIMIT)
    if expected.length not in (-1, size):
        raise S3Error("IncompleteBody")
    if expected.trailer:
        text = source.trailers.get(expected.trailer) if expected.framed else None
        if text is None:
            raise S3Error("MalformedTrailerError")
        claimed_digest = checksums.decode(keep, text)
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
    if claimed_digest is not None and digest.digest() != claimed_digest:
        raise S3Error("BadDigest", f"The {keep} you specified did not match the calculated checksum.")
    return Received(size, hasher.hexdigest() if hasher else None, Checksum(keep, digest.digest()))


class Framed:
    """aws-chunked: `SIZE[;chunk-signature=…]` lines and chunks, then trailer fields."""

    def __init__(self, stream: Any) -> None:
        self._stream = io.BufferedReader(stream, 1 << 16)
        self._left = 0
        self._done = False
        self.trailers: dict[str, str] = {}

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as chunks go, so small chunks do not make small blocks."""
        view, filled = memoryview(buffer), 0
        while filled < len(view) and not self._done:
            if self._left == 0:
                self._next_chunk()
                continue
            got = self._stream.readinto(view[filled : filled + self._left])
            if not got:
                raise Truncated("the aws-chunked body ended within a chunk")
            filled += got
            self._left -= got
            if self._left == 0:
                self._line()
        return filled

    def _next_chunk(self) -> None:
        size = self._line().split(b";")[0]
        try:
            self._left = int(size, 16)
        except ValueError:
            raise S3Error("InvalidRequest", f"the aws-chunked chunk size {size!r} is no number") from None
        if self._left == 0:
            self._done = True
            while line := self._line():
                name, _, value = line.partition(b":")
                self.trailers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()

    def _line(self) -> bytes:
        line = self._stream.readline(LINE_LIMIT)
        if line and not line.endswith(b"\n"):
            raise S3Error("InvalidRequest", "the aws-chunked framing is broken")
        return line.rstrip(b"\r\n")

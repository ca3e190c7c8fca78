"""The checksums S3 knows, computed block by block, combined over parts, and compared with what a client claims."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from awscrt import checksums as crt

from slipway_sandbox.aws.s3.errors import S3Error

HEADER = "x-amz-checksum-"
WIDTH = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}  # bytes
FULL, COMPOSITE = "FULL_OBJECT", "COMPOSITE"
DEFAULT = "CRC64NVME"  # what S3 adds when the client names no algorithm

_CRC: dict[str, Callable[[Any, int], int]] = {
    "CRC32": crt.crc32,
    "CRC32C": crt.crc32c,
    "CRC64NVME": crt.crc64nvme,
}
_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "CRC32": crt.combine_crc32,
    "CRC32C": crt.combine_crc32c,
    "CRC64NVME": crt.combine_crc64nvme,
}


class Digest(Protocol):
    """What hashlib's objects have in common with our CRCs."""

    def update(self, data: Any, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A CRC fed block by block; the digest is big-endian, as on the wire."""

    def __init__(self, algorithm: str) -> None:
        self._function, self._width = _CRC[algorithm], WIDTH[algorithm]
        self._value = 0

    def update(self, data: Any, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


def digest_for(algorithm: str) -> Digest:
    if algorithm in _CRC:
        return Crc(algorithm)
    return hashlib.new(algorithm.lower(), usedforsecurity=False)


@dataclass(frozen=True)
class Checksum:
    """An object's or a part's checksum. A composite value is over the parts' digests, and carries their number."""

    algorithm: str
    digest: bytes
    kind: str = FULL
    parts: int = 0

    @property
    def value(self) -> str:
        text = base64.b64encode(self.digest).decode()
        return f"{text}-{self.parts}" if self.kind == COMPOSITE else text

    @property
    def member(self) -> str:
        """The element's name in XML: ChecksumCRC64NVME."""
        return f"Checksum{self.algorithm}"

    def headers(self, *, kind: bool = True) -> dict[str, str]:
        named = {HEADER + self.algorithm.lower(): self.value}
        return named | {"x-amz-checksum-type": self.kind} if kind else named


def over_parts(algorithm: str, kind: str, parts: Iterable[tuple[Checksum, int]]) -> Checksum:
    """The whole object's checksum from its parts' (checksum, size in bytes)."""
    listed = list(parts)
    if kind == COMPOSITE:
        outer = digest_for(algorithm)
        for checksum, _ in listed:
            outer.update(checksum.digest)
        return Checksum(algorithm, outer.digest(), COMPOSITE, len(listed))
    combine, value = _COMBINE[algorithm], 0
    for checksum, size in listed:
        value = combine(value, int.from_bytes(checksum.digest, "big"), size)
    return Checksum(algorithm, value.to_bytes(WIDTH[algorithm], "big"))


def decode(algorithm: str, text: str) -> bytes:
    """A claimed value's bytes. Raises InvalidRequest where it cannot be one."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != WIDTH[algorithm]:
        raise S3Error("InvalidRequest", f"Value for {HEADER}{algorithm.lower()} header is invalid.")
    return raw


def claimed(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """(algorithm, base64 value) a request's headers give. Raises InvalidRequest for more than one."""
    found = [(name, headers[HEADER + name.lower()]) for name in WIDTH if HEADER + name.lower() in headers]
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return found[0] if found else None


def algorithm_named(name: str) -> str:
    """A client's algorithm name in S3's spelling. Raises InvalidRequest."""
    if name.upper() not in WIDTH:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    return name.upper()


def upload_checksum(algorithm: str | None, kind: str | None) -> tuple[str, str]:
    """Algorithm and type of a multipart upload as asked for, with S3's defaults. Raises InvalidRequest."""
    name = algorithm_named(algorithm) if algorithm else DEFAULT
    wanted = kind or (FULL if name == "CRC64NVME" else COMPOSITE)
    if (wanted == FULL and name.startswith("SHA")) or (wanted == COMPOSITE and name == "CRC64NVME"):
        raise S3Error(
            "InvalidRequest",
            f"The {wanted} checksum type cannot be used with the {name.lower()} checksum algorithm.",
        )
    return name, wanted

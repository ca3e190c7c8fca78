"""Cut a file into the parts of a multipart upload. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
# S3 takes 10,000 parts of 5 MiB to 5 GiB; 9,500 leaves room for rounding up to whole MiB.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PARTS_AT_MOST = 9_500
SMALLEST_PART = 5 * MIB
DEFAULT_FLOOR = 16 * MIB


@dataclass(frozen=True)
class Part:
    """Bytes [offset, offset + size) of a file; S3 counts `number` from 1."""

    number: int
    offset: int
    size: int


def part_size(size: int, floor: int = DEFAULT_FLOOR) -> int:
    """Bytes of one part of a file of `size` bytes: `floor`, or more where 9,500 parts would not do."""
    if floor < SMALLEST_PART:
        raise ValueError(f"a part of {floor} bytes is smaller than S3's {SMALLEST_PART}")
    needed = -(-size // PARTS_AT_MOST)
    return max(floor, -(-needed // MIB) * MIB)


def cut(size: int, part_size: int) -> tuple[Part, ...]:
    """The parts in order. An empty file is one empty part: S3 has no multipart upload without a part."""
    if size == 0:
        return (Part(1, 0, 0),)
    return tuple(
        Part(number, offset, min(part_size, size - offset))
        for number, offset in enumerate(range(0, size, part_size), start=1)
    )

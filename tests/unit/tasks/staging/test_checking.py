"""What S3 keeps of an object against what was staged."""

from __future__ import annotations

import pytest

from tasks.records.results import StagedFile
from tasks.staging.checking import difference, unlisted
from tasks.staging.objects import ObjectHead

FILE = StagedFile(path="a", size=5, sha256="0" * 64, crc64nvme="AAAA", part_size=8, parts=("AAAA",))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (ObjectHead(5, "e", "AAAA"), ""),
        (None, "a is not there"),
        (ObjectHead(4, "e", "AAAA"), "a has 4 bytes, 5 were staged"),
        (ObjectHead(5, "e", "BBBB"), "a has CRC64NVME BBBB, AAAA was staged"),
        (ObjectHead(5, "e", None), "a has no CRC64NVME of the whole object"),
    ],
)
def test_size_and_checksum_decide(head: ObjectHead | None, said: str) -> None:
    assert difference(FILE, head) == said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["r/c/a", "r/c/.slipway/manifest.json"], []),
        (["r/c/a", "r/c/b.safetensors"], ["b.safetensors is not in the manifest"]),
        (["r/c/a", "r/c/.slipway-x/b.safetensors"], [".slipway-x/b.safetensors is not in the manifest"]),
    ],
)
def test_an_object_that_no_manifest_lists_would_be_read_too(keys: list[str], said: list[str]) -> None:
    assert unlisted("r/c", keys, [FILE]) == said

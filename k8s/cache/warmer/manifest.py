"""The manifest staging wrote: which files a model has, and what proves each."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from disk import BLOCK
from exits import Exit, Failure

try:
    from awscrt import checksums as checksums
except ImportError:
    checksums = None


@dataclass(frozen=True)
class Wanted:
    """One file of the manifest. `size` in bytes; `parts`: the CRC64NVME of each `part_size` bytes."""

    path: str
    size: int
    sha256: str
    part_size: int = 0
    parts: tuple[int, ...] = ()

    @property
    def by_part(self) -> bool:
        """Whether each part can be verified on its own, as it arrives."""
        return (
            checksums is not None
            and self.part_size > 0
            and self.part_size % BLOCK == 0
            and len(self.parts) == max(1, -(-self.size // self.part_size))
        )


def listed(body: bytes, sha256: str) -> list[Wanted]:
    """The files of the manifest `body`, whose digest must be `sha256`. Raises Failure."""
    digest = hashlib.sha256(body).hexdigest()
    if digest != sha256:
        raise Failure(Exit.BAD_DATA, f"the manifest is not the one that was staged: {digest}, not {sha256}")
    files = [
        Wanted(f["path"], f["size"], f["sha256"], f.get("part_size", 0), _checksums(f.get("parts", ())))
        for f in json.loads(body)["files"]
    ]
    for file in files:
        if PurePosixPath(file.path).is_absolute() or ".." in PurePosixPath(file.path).parts:
            raise Failure(Exit.BAD_DATA, f"the manifest lists a path outside its folder: {file.path}")
    return files


def _checksums(parts: Sequence[str]) -> tuple[int, ...]:
    """As S3 writes them: base64 over eight bytes, big-endian."""
    return tuple(int.from_bytes(base64.b64decode(part), "big") for part in parts)

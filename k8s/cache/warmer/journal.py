"""What of a commit is on the volume, kept beside it: the journal while it is copied, the marker once it is whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disk import read_json, write_durably
from manifest import Wanted

MARKER, PROGRESS = ".slipway-complete.json", ".slipway-progress.json"


@dataclass
class Journal:
    """Bytes of each file that are on the disk, and the sha256 of each file that was verified whole."""

    path: Path
    manifest_sha256: str
    bytes: dict[str, int] = field(default_factory=dict)
    proven: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, manifest_sha256: str) -> Journal:
        """The journal of a commit's folder, with what its marker says."""
        journal = cls(folder / PROGRESS, manifest_sha256)
        for document in (read_json(folder / MARKER), read_json(folder / PROGRESS)):
            journal.proven |= document.get("proven", {})
            journal.bytes |= document.get("bytes", {})
        return journal

    def has(self, file: Wanted, folder: Path) -> bool:
        """Whether the file is on the volume, whole and verified."""
        path = folder / file.path
        return (
            self.proven.get(file.path) == file.sha256 and path.is_file() and path.stat().st_size == file.size
        )

    def save(self) -> None:
        write_durably(self.path, self.document())

    def document(self) -> dict[str, Any]:
        return {"manifest_sha256": self.manifest_sha256, "bytes": self.bytes, "proven": self.proven}

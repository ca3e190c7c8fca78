"""Where one commit of a repo is staged, and which of its keys are Slipway's own."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.records.names import staged_prefix
from tasks.staging.objects import Bucket

OWN_FOLDER = ".slipway"


@dataclass(frozen=True)
class StagedFolder:
    """s3://BUCKET/PREFIX/: the model's files, and in .slipway/ the manifest and, until it is written, a record of each file."""

    bucket: Bucket
    prefix: str

    @classmethod
    def of(cls, bucket: Bucket, repo: str, commit: str) -> StagedFolder:
        return cls(bucket, staged_prefix(repo, commit))

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket.name}/{self.prefix}"

    @property
    def manifest_key(self) -> str:
        return self.key(f"{OWN_FOLDER}/manifest.json")

    @property
    def records_prefix(self) -> str:
        return self.key(f"{OWN_FOLDER}/files/")

    def key(self, path: str) -> str:
        """The key of a file of the model."""
        return f"{self.prefix}/{path}"

    def record_key(self, path: str) -> str:
        """The key of the record that a file's bytes were proven."""
        return f"{self.records_prefix}{path}.json"

    def sizes(self) -> dict[str, int]:
        """Bytes of every object, by key."""
        return self.bucket.sizes(f"{self.prefix}/")

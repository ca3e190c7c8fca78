"""The command line of the warm job."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass
class Options:
    """`bucket_owner`: the AWS account the bucket must belong to; `needed`: commits that are never evicted; `spare`: how many
    others stay while there is room; `chunk`: bytes, a multiple of 4096; `grow_seconds`: how long to wait for the file system
    to grow."""

    bucket: str
    bucket_owner: str
    prefix: str
    repo: str
    commit: str
    manifest_sha256: str
    root: Path
    needed: tuple[str, ...] = ()
    spare: int = 0
    threads: int = 8
    chunk: int = 16 << 20
    journal_seconds: float = 2.0
    grow_seconds: float = 0.0
    adapter: tuple[str, ...] = ()

    @property
    def parts(self) -> list[Options]:
        """The options of each folder to fill: the adapters', then the model's."""
        adapters = [given.split(",") for given in self.adapter]
        whole = (*self.needed, self.commit, *(commit for _, commit, *_ in adapters))
        own = replace(self, needed=whole, adapter=())
        return [
            *(
                replace(own, repo=repo, commit=commit, prefix=prefix, manifest_sha256=sha256)
                for repo, commit, prefix, sha256 in adapters
            ),
            own,
        ]

    @property
    def folder(self) -> Path:
        """The folder of the commit on the volume."""
        return self.root / self.repo.replace("/", "--") / self.commit


def parsed(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(description="Fill a volume with a staged model.")
    for name in ("bucket", "bucket-owner", "prefix", "repo", "commit", "manifest-sha256"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--root", type=Path, required=True, help="where the volume is mounted")
    parser.add_argument("--needed", default="", help="commits that are never removed, with commas between")
    parser.add_argument("--spare", type=int, default=0, help="other commits that stay while there is room")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=16 << 20, help="bytes, a multiple of 4096")
    parser.add_argument("--journal-seconds", type=float, default=2.0, help="between flushes of the journal")
    parser.add_argument("--grow-seconds", type=float, default=0.0, help="the file system may grow so long")
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        help="REPO,COMMIT,PREFIX,MANIFEST-SHA256 of a LoRA adapter to put beside the model; once for each",
    )
    given = parser.parse_args(arguments)
    given.adapter = tuple(given.adapter)
    given.needed = tuple(filter(None, given.needed.split(",")))
    return Options(**vars(given))

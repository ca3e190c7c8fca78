"""Repositories: commits of files, branches and tags over them. Nothing here knows HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slipway_sandbox.hub import git
from slipway_sandbox.hub.blobs import Blob, Hasher, is_large, lfs_patterns

FIRST_COMMIT = 1_767_225_600  # 2026-01-01T00:00:00Z: dates are part of a commit's id, so they are fixed
_DAY = 86_400
_DEFAULT_LFS = ["*.safetensors"]
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HEADER_LIMIT = 100_000_000  # bytes; safetensors' own limit of a header


class NoSuchRevision(LookupError):
    """No branch, tag or commit of that name."""


@dataclass(frozen=True)
class Commit:
    """A snapshot. `files` is sorted by path; `trees` holds the git id of every directory, "" being the root."""

    sha: str
    parent: str | None
    title: str
    epoch: int
    files: Mapping[str, Blob]
    trees: Mapping[str, str]
    parameters: Mapping[str, int]  # safetensors dtype -> number of parameters
    config: Mapping[str, object]  # config.json, empty where there is none


@dataclass
class Repo:
    """One model repository. `gated` is False, "auto" or "manual" as the hub says it."""

    repo_id: str
    gated: str | bool = False
    card: Mapping[str, object] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)  # oldest first
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _REPO_ID.fullmatch(self.repo_id):
            raise ValueError(f"a repo id is namespace/name, not {self.repo_id!r}")

    def commit(
        self, files: Mapping[str, Blob], title: str, tag: str | None = None, epoch: int | None = None
    ) -> Commit:
        """Put a snapshot on main. The same files as main already has make no new commit."""
        files = dict(sorted(files.items()))
        trees = git.trees({path: blob.oid for path, blob in files.items()})
        parent = self.branches.get("main")
        if parent and self.commits[parent].trees[""] == trees[""]:
            made = self.commits[parent]
        else:
            epoch = epoch or FIRST_COMMIT + len(self.commits) * _DAY
            sha = git.commit_id(trees[""], parent, title, epoch)
            config = _config(files)
            made = Commit(sha, parent, title, epoch, files, trees, _parameters(files), config)
        self.commits[made.sha] = made
        self.branches["main"] = made.sha
        if tag:
            self.tags[tag] = made.sha
        return made

    def resolve(self, revision: str) -> Commit:
        """A branch, tag, full ref or commit id (at least 7 digits of it). Raises NoSuchRevision."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name)
        if sha is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            sha = next((known for known in self.commits if known.startswith(revision)), None)
        if sha is None:
            raise NoSuchRevision(revision)
        return self.commits[sha]

    def find_large(self, sha256: str) -> tuple[str, Blob] | None:
        """The path and content of an LFS object of any commit."""
        for commit in self.commits.values():
            for path, blob in commit.files.items():
                if blob.sha256 == sha256:
                    return path, blob
        return None


def read_folder(folder: Path, hasher: Hasher) -> dict[str, Blob]:
    """Every file below `folder` as the hub would keep it. Raises FileNotFoundError where there is none.

    Links are followed (a hub cache's snapshot is a folder of links); `.git` and `.cache` are left out.
    """
    folder = folder.resolve()
    attributes = folder / ".gitattributes"
    patterns = lfs_patterns(attributes.read_text()) if attributes.is_file() else _DEFAULT_LFS
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] in (".git", ".cache") or not path.is_file():
            continue
        large = is_large(relative.as_posix(), path.stat().st_size, [*_DEFAULT_LFS, *patterns])
        files[relative.as_posix()] = hasher.blob(path, large)
    if not files:
        raise FileNotFoundError(f"{folder} holds no files to publish")
    hasher.save()
    return files


def _parameters(files: Mapping[str, Blob]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path, blob in files.items():
        if not path.endswith(".safetensors"):
            continue
        length = int.from_bytes(blob.source.read(0, 8), "little")
        if length > min(_HEADER_LIMIT, blob.size):
            continue  # not a safetensors file, whatever its name: the hub then shows no counts for it
        header = json.loads(blob.source.read(8, length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            count = 1
            for dimension in tensor["shape"]:
                count *= dimension
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + count
    return counts


def _config(files: Mapping[str, Blob]) -> dict[str, object]:
    blob = files.get("config.json")
    if blob is None or blob.sha256:
        return {}
    loaded: dict[str, object] = json.loads(blob.source.read(0, blob.size))
    return loaded

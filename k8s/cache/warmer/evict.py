"""Room on the volume: which commits are on it, which go for a new one, and whether the new one fits."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from exits import Exit, Failure
from journal import MARKER
from manifest import Wanted
from options import Options
from report import tell

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Revision:
    """One commit's folder on the volume. `size` in bytes; `used`: when it was last warmed, in seconds."""

    folder: Path
    size: int
    used: float

    @property
    def commit(self) -> str:
        return self.folder.name


def to_evict(
    held: Sequence[Revision], *, needed: Collection[str], spare: int, missing: int, free: int
) -> list[Revision]:
    """Choose revisions to evict, least recently used first; never a needed one.

    Keep `spare` of the others, fewer where `missing` bytes do not fit into the `free` ones. Pure.
    """
    loose = sorted((each for each in held if each.commit not in needed), key=lambda each: each.used)
    beyond = max(0, len(loose) - spare)
    going = loose[:beyond]
    for each in loose[beyond:]:
        if missing <= free + sum(gone.size for gone in going):
            break
        going.append(each)
    return going


def held(options: Options) -> list[Revision]:
    """Every commit's folder on the volume, of this repo and of others."""
    revisions = []
    for folder in options.root.glob("*--*/*"):
        if _COMMIT.fullmatch(folder.name) and folder.is_dir():
            newest = folder / MARKER if (folder / MARKER).exists() else folder
            size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
            revisions.append(Revision(folder, size, newest.stat().st_mtime))
    return revisions


def make_room(options: Options, missing: int) -> None:
    """Remove folders of commits nobody needs, before `missing` bytes come."""
    needed = {options.commit, *options.needed}
    free = shutil.disk_usage(options.root).free
    for each in to_evict(held(options), needed=needed, spare=options.spare, missing=missing, free=free):
        tell("note", text=f"removing {each.commit}, which nothing needs: {each.size} bytes")
        (each.folder / MARKER).unlink(missing_ok=True)  # first: half a folder shall not pass for a whole one
        shutil.rmtree(each.folder)


def missing_bytes(options: Options, files: list[Wanted]) -> int:
    """What these files still take beside what of them is on the volume."""
    have = 0
    for file in files:
        path = options.folder / file.path
        have += min(file.size, path.stat().st_blocks * 512) if path.is_file() else 0
    return sum(file.size for file in files) - have


def check_space(options: Options, files: list[Wanted], sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait up to `grow_seconds` until what is missing fits, before a byte is fetched. Raises Failure."""
    needed, end = missing_bytes(options, files), time.monotonic() + options.grow_seconds
    while needed > (free := shutil.disk_usage(options.root).free):
        if time.monotonic() >= end:
            cause = f"no space left on the volume: {needed} bytes are missing, {free} are free"
            raise Failure(Exit.NO_SPACE, cause)
        sleep(0.5)

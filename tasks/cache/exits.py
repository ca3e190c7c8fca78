"""The exit codes of the warm job, read from the program itself: k8s/cache/warmer/exits.py is not in this package."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.records.catalogue import project_root


@dataclass(frozen=True)
class Exits:
    """`names` by code, such as NO_SPACE; `permanent`: codes after which another try of the job ends the same way."""

    names: Mapping[int, str]
    permanent: frozenset[int]


def exits() -> Exits:
    """The codes of the project's warm job."""
    return _read(project_root() / "k8s" / "cache" / "warmer" / "exits.py")


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Exits:
    written = runpy.run_path(str(path))
    names = {int(each): str(each.name) for each in written["Exit"]}
    return Exits(names, frozenset(map(int, written["PERMANENT"])))

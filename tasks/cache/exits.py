"""The exit codes of the warm job, read from its program: k8s/cache/warmer/exits.py, which is not in this package."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.records.catalogue import project_root


@dataclass(frozen=True)
class Exits:
    """`names` by code, such as NO_SPACE; `permanent`: codes after which another try of the job ends the same way."""

    names: Mapping[int, str]
    permanent: frozenset[int]


def exits() -> Exits:
    written = runpy.run_path(str(project_root() / "k8s" / "cache" / "warmer" / "exits.py"))
    names = {int(each): str(each.name) for each in written["Exit"]}
    return Exits(names, frozenset(map(int, written["PERMANENT"])))

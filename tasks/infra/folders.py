"""Work directories of terraform: one for each run at a time, used again by later runs so that providers stay there."""

from __future__ import annotations

import fcntl
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class WorkFolder:
    """A folder nobody else on this host works in, until this is dropped or the process ends."""

    path: Path
    _lock: TextIO

    @classmethod
    def take(cls, parent: Path) -> WorkFolder:
        """The first of PARENT/1, PARENT/2, ... that is free."""
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            lock = (parent / f"{number}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return cls(parent / str(number), lock)
        raise AssertionError("numbers do not end")

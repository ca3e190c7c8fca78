"""How much memory a container's processes hold: what a cgroup would count, as far as /proc tells it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers.objects import quantity

_PAGE = os.sysconf("SC_PAGE_SIZE")


def limit_of(container: Object) -> int | None:
    """limits.memory in bytes; None where there is none."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else int(quantity(str(limit)))


def processes_of(first: int) -> list[int]:
    """A process and all it started that still run. One that has gone is left out."""
    found, waiting = [], [first]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(word) for word in (task / "children").read_text().split()]
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory, pages shared with others included; 0 for a process that has gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def proportional_bytes(pid: int) -> int:
    """Resident memory with each shared page divided among those who share it; 0 for a process that has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def held_bytes(first: int, limit: int) -> int:
    """What the container's processes hold. Shared pages are looked into only where they could decide: that is slow."""
    pids = processes_of(first)
    resident = sum(map(resident_bytes, pids))
    return resident if resident <= limit else sum(map(proportional_bytes, pids))


async def until_exceeded(pid: Callable[[], int], limit: int, interval: float) -> None:
    """Return once the processes hold more than `limit` bytes, looking every `interval` seconds."""
    while True:
        await asyncio.sleep(interval)
        if await asyncio.to_thread(held_bytes, pid(), limit) > limit:
            return

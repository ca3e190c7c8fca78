"""Which process owns a lock, and whether it still runs."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """The process of a run, and its terraform (`child`). `*_began`: the kernel's start times, as process ids are reused."""

    host: str
    boot: str
    pid: int
    pid_began: str
    child: int
    child_began: str
    heartbeat: float


def process_began(pid: int) -> str:
    """The kernel's start time of a process (field 22 of /proc/PID/stat), "" where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def is_alive(pid: int, began: str) -> bool:
    """Whether the process that began then still runs on this host."""
    return bool(pid and began) and process_began(pid) == began


def this_run(now: float) -> Owner:
    """The owner record of this process; `boot` is the kernel's id of this boot."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return Owner(
        host=socket.gethostname(),
        boot=boot.read_text().strip() if boot.exists() else "",
        pid=os.getpid(),
        pid_began=process_began(os.getpid()),
        child=0,
        child_began="",
        heartbeat=now,
    )

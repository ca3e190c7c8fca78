"""How long the sandbox and the whole lifecycle take, and how much memory they need.

    python -m bench.lifecycle [--rounds 3] [--json FILE]

Each round starts a sandbox without Prefect and one with it, in folders of its own, then runs `slipway sandbox demo`
in a copy of the catalogue, while the memory of everything it started is added up. Memory is PSS
(/proc/PID/smaps_rollup): pages that several processes share are counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CATALOGUE = ("models", "environments", "k8s", "infra", "sandbox/charts", "sandbox/values")
SAMPLE_SECONDS = 0.5
RUN_SECONDS = 600.0


def descendants(pid: int) -> list[int]:
    """The process and all it started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, ())
    return found


def pss_mib(pids: Sequence[int]) -> float:
    total = 0
    for pid in set(pids):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def supervisor_of(root: Path) -> list[int]:
    """The sandbox's supervisor is a session of its own: found by what it wrote down."""
    file = root / "processes.json"
    if not file.exists():
        return []
    try:
        return [entry["pid"] for entry in json.loads(file.read_text()).values()]
    except ValueError:
        return []  # being written


class Memory(threading.Thread):
    """Samples the PSS of a process tree and a sandbox until told to stop."""

    def __init__(self, pid: int, root: Path) -> None:
        super().__init__(daemon=True)
        self._pid, self._root = pid, root
        self._done = threading.Event()
        self.peak = 0.0

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            roots = [self._pid, *supervisor_of(self._root)]
            self.peak = max(self.peak, pss_mib([p for root in roots for p in descendants(root)]))

    def stop(self) -> None:
        self._done.set()
        self.join(5)


def sandbox(*words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "slipway_sandbox", *words],
        check=True,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=RUN_SECONDS,
    )


def time_sandbox(folder: Path, *, prefect: bool) -> tuple[float, float]:
    """(seconds until ready, MiB at rest)."""
    began = time.monotonic()
    sandbox("up", "--detach", "--root", str(folder), *([] if prefect else ["--no-prefect"]))
    ready = time.monotonic() - began
    time.sleep(2)
    rest = pss_mib([p for root in supervisor_of(folder) for p in descendants(root)])
    sandbox("down", "--root", str(folder))
    return ready, rest


def time_lifecycle(home: Path) -> tuple[float, float]:
    """(seconds of `slipway sandbox demo`, peak MiB of all its processes)."""
    for part in CATALOGUE:
        shutil.copytree(PROJECT / part, home / part)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "sandbox", "demo"],
        cwd=home,
        env={**os.environ, "SLIPWAY_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    ) as process:
        memory = Memory(process.pid, home / ".sandbox")
        memory.start()
        code = process.wait(RUN_SECONDS)
        memory.stop()
    if code:
        raise SystemExit(f"the demo ended with exit code {code}")
    return time.monotonic() - began, memory.peak


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lifecycle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as scratch:
            for name, prefect in (("sandbox", False), ("sandbox_with_prefect", True)):
                ready, rest = time_sandbox(Path(scratch) / name, prefect=prefect)
                figures.setdefault(f"{name}_ready_s", []).append(ready)
                figures.setdefault(f"{name}_at_rest_mib", []).append(rest)
            wall, peak = time_lifecycle(Path(scratch) / "home")
            figures.setdefault("demo_s", []).append(wall)
            figures.setdefault("demo_peak_mib", []).append(peak)
    summary = {name: spread(values) for name, values in figures.items()}
    for name, found in summary.items():
        print(f"{name:<30} median {found['median']:8.1f}   min {found['min']:8.1f}   max {found['max']:8.1f}")
    if given.json:
        given.json.write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()

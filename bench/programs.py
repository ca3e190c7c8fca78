"""Programs a bench compiles and waits for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

STOPPED = 124  # the exit code of one that took too long, as timeout(1) has it
LOOK_SECONDS = 0.005


def compiled(source: Path, program: Path) -> Path:
    """`program`, made of the C++ of `source` where that is newer. Raises RuntimeError without a C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise RuntimeError(f"{source} is to be compiled: that needs a C++ compiler (c++) on PATH")
    program.parent.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        command = [compiler, "-O2", "-std=c++20", "-pthread", "-o", str(program), str(source)]
        subprocess.run(command, check=True, timeout=120)
    return program


def wait(process: subprocess.Popen[bytes], patience: float) -> tuple[int, float]:
    """(exit code, CPU seconds of it and all it waited for); STOPPED with its whole session after `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        time.sleep(LOOK_SECONDS)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return STOPPED, 0.0

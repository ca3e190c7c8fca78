"""Runs terraform and helm: output streamed line by line, a deadline on every run, an orderly end."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.cloud.interruption import check
from tasks.spec.errors import ToolFailed, ToolMissing, ToolTimedOut

TAIL_LINES = 40
LISTEN_SECONDS = 0.5  # how soon an interrupted run is noticed
_LAUNCHER = Path(__file__).with_name("launch.py")
INTERRUPT_GRACE_SECONDS = 30.0  # terraform writes its state on SIGINT; past this it is killed


@dataclass(frozen=True)
class Finished:
    """A run that ended by itself: its exit code, all of stdout, the last lines of both streams."""

    code: int
    stdout: str
    tail: tuple[str, ...]


def executable(name: str, *, install_hint: str) -> str:
    """The path of `name` on PATH. Raises ToolMissing."""
    found = shutil.which(name)
    if not found:
        raise ToolMissing(
            f"{name} is not on PATH",
            evidence=[f"PATH={os.environ.get('PATH', '')}"],
            next_command=install_hint,
        )
    return found


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    on_line: Callable[[str], None] = lambda line: None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    accept: Sequence[int] = (0,),
    keep_stdout: int = 32 * 1024 * 1024,
    on_start: Callable[[int], None] = lambda pid: None,
) -> Finished:
    """Run to the end. `env` adds to the environment; secrets belong there, never in argv.

    The program gets SIGINT when this process dies (see launch.py); `on_start` is told its process id.
    stdin is closed. On the deadline, and when the caller is interrupted, the process group gets SIGINT
    and, `INTERRUPT_GRACE_SECONDS` later, SIGKILL. Raises ToolTimedOut, ToolFailed for a code not in `accept`.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
        cwd=cwd,
        start_new_session=True,
    ) as process:
        lines: queue.Queue[tuple[str, str] | None] = queue.Queue(maxsize=10_000)
        readers = [
            threading.Thread(target=_pump, args=(stream, which, lines), daemon=True)
            for stream, which in ((process.stdout, "out"), (process.stderr, "err"))
        ]
        for reader in readers:
            reader.start()
        try:
            on_start(process.pid)
            return _collect(process, argv, lines, timeout, on_line, accept, keep_stdout)
        except BaseException:
            _end(process)
            raise


def _pump(stream: object, which: str, lines: queue.Queue[tuple[str, str] | None]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        lines.put((which, line))
    lines.put(None)


def _collect(
    process: subprocess.Popen[str],
    argv: Sequence[str],
    lines: queue.Queue[tuple[str, str] | None],
    timeout: float,
    on_line: Callable[[str], None],
    accept: Sequence[int],
    keep_stdout: int,
) -> Finished:
    deadline = time.monotonic() + timeout
    out: list[str] = []
    kept = 0
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    open_streams = 2
    while open_streams:
        check()
        if time.monotonic() >= deadline:
            raise ToolTimedOut(
                f"{Path(argv[0]).name} {_verb(argv)} did not end within {timeout:.0f} s and was stopped",
                evidence=tail,
                next_command="run the same command again: it continues from what is there",
            )
        try:
            item = lines.get(timeout=LISTEN_SECONDS)
        except queue.Empty:
            continue
        if item is None:
            open_streams -= 1
            continue
        which, line = item
        if which == "out":
            kept += len(line)
            if kept > keep_stdout:
                raise ToolFailed(f"{Path(argv[0]).name} wrote more than {keep_stdout} bytes", evidence=tail)
            out.append(line)
        tail.append(line.rstrip("\n"))
        on_line(line.rstrip("\n"))
    code = process.wait(timeout=max(1.0, deadline - time.monotonic()))
    if code not in accept:
        raise ToolFailed(f"{Path(argv[0]).name} {_verb(argv)} ended with exit code {code}", evidence=tail)
    return Finished(code, "".join(out), tuple(tail))


def _verb(argv: Sequence[str]) -> str:
    return next((word for word in argv[1:] if not word.startswith("-")), "")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(INTERRUPT_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    except ProcessLookupError:
        pass  # it ended between the look and the signal

"""Run terraform and helm: stream their output by lines, enforce a deadline, end them in order."""

from __future__ import annotations

import contextlib
import fcntl
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
from typing import TextIO

from tasks.cloud.interruption import check
from tasks.records.errors import ToolFailed, ToolMissing, ToolTimedOut

TOOLS = {
    "terraform": "install terraform >= 1.11 (https://developer.hashicorp.com/terraform/install)",
    "helm": "install helm >= 3.14 (https://helm.sh/docs/intro/install/)",
}
TAIL_LINES = 40
# how soon an interrupted run is noticed
LISTEN_SECONDS = 0.5
Lines = queue.Queue[tuple[str, str] | None]
_LAUNCHER = Path(__file__).with_name("launch.py")
# pipe buffer: what a program can still write once this process was killed
ORPHAN_OUTPUT_BYTES = 256 * 1024
# terraform writes its state on SIGINT; past this it is killed
INTERRUPT_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Finished:
    """A program that ended by itself: exit code, all of stdout, the last lines of both streams."""

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
    """Run a program to its end, with stdin closed. Raises ToolTimedOut, ToolFailed for a code not in `accept`.

    The program gets SIGINT when this process dies (launch.py). At the deadline, and when the caller is interrupted,
    its process group gets SIGINT and, `INTERRUPT_GRACE_SECONDS` later, SIGKILL.

    Args:
        timeout: seconds.
        env: added to the environment; secrets belong here, never in argv.
        on_start: called with the process id.
    """
    (out, out_end), (err, err_end) = _pipe(), _pipe()
    try:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=out_end,
            stderr=err_end,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
            pass_fds=(out.fileno(), err.fileno()),
        )
    except BaseException:
        out.close()
        err.close()
        raise
    finally:
        os.close(out_end)
        os.close(err_end)
    with started as process:
        lines: Lines = queue.Queue(maxsize=10_000)
        over = threading.Event()
        readers = [
            threading.Thread(target=_pump, args=(stream, which, lines, over), daemon=True)
            for stream, which in ((out, "out"), (err, "err"))
        ]
        for reader in readers:
            reader.start()
        try:
            on_start(process.pid)
            return _collect(process, argv, lines, timeout, on_line, accept, keep_stdout)
        except BaseException:
            _end(process)
            raise
        finally:
            over.set()


def _pipe() -> tuple[TextIO, int]:
    """A pipe: the stream to read from, and the descriptor to write to.

    The program inherits the reading end too. Without it, its first write after this process was killed would end it
    by SIGPIPE, before terraform has written its state.
    """
    reading, writing = os.pipe()
    if sys.platform == "linux":
        # refused past the user's share of pipe memory; then the buffer stays at 64 KiB
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ORPHAN_OUTPUT_BYTES)
    return os.fdopen(reading, "r", errors="replace"), writing


def _pump(stream: TextIO, which: str, lines: Lines, over: threading.Event) -> None:
    """Queue every line, then None; end early once `over` is set."""

    def put(item: tuple[str, str] | None) -> None:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                lines.put(item, timeout=LISTEN_SECONDS)
                return

    with stream:
        for line in stream:
            put((which, line))
            if over.is_set():
                return
    put(None)


def _collect(
    process: subprocess.Popen[bytes],
    argv: Sequence[str],
    lines: Lines,
    timeout: float,
    on_line: Callable[[str], None],
    accept: Sequence[int],
    keep_stdout: int,
) -> Finished:
    deadline = time.monotonic() + timeout
    late = f"{Path(argv[0]).name} {_verb(argv)} did not end within {timeout:.0f} s and was stopped"
    again = "run the same command again: it continues from what is there"
    out: list[str] = []
    kept = 0
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    open_streams = 2
    while open_streams:
        check()
        if time.monotonic() >= deadline:
            raise ToolTimedOut(late, evidence=tail, next_command=again)
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
    # it closed its output and goes on
    while (code := process.poll()) is None:
        check()
        if time.monotonic() >= deadline:
            raise ToolTimedOut(late, evidence=tail, next_command=again)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LISTEN_SECONDS)
    if code not in accept:
        raise ToolFailed(f"{Path(argv[0]).name} {_verb(argv)} ended with exit code {code}", evidence=tail)
    return Finished(code, "".join(out), tuple(tail))


def _verb(argv: Sequence[str]) -> str:
    return next((word for word in argv[1:] if not word.startswith("-")), "")


def _end(process: subprocess.Popen[bytes]) -> None:
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

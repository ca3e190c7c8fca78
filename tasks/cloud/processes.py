"""Runs terraform and helm: output streamed line by line, a deadline on every run, an orderly end."""

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
    "terraform": "install terraform >= 1.10 (https://developer.hashicorp.com/terraform/install)",
    "helm": "install helm >= 3.14 (https://helm.sh/docs/intro/install/)",
}
TAIL_LINES = 40
LISTEN_SECONDS = 0.5  # how soon an interrupted run is noticed
Lines = queue.Queue[tuple[str, str] | None]
_LAUNCHER = Path(__file__).with_name("launch.py")
ORPHAN_OUTPUT_BYTES = 256 * 1024  # what a program can still say once nobody listens any more
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
    """Where to read, and the descriptor to write to.

    The program is handed the reading end too: a pipe nobody can read any more would kill it with SIGPIPE when it
    says its first word after this process was killed, before terraform has written its state.
    """
    reading, writing = os.pipe()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # past the user's share of pipe memory: then it stays at 64 KiB
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, ORPHAN_OUTPUT_BYTES)
    return os.fdopen(reading, "r", errors="replace"), writing


def _pump(stream: TextIO, which: str, lines: Lines, over: threading.Event) -> None:
    """Every line, then None; ends early once `over` says that nobody listens any more."""

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
    while (code := process.poll()) is None:  # it closed its output, and goes on
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

"""Local processes standing for containers: each its own group, its output to a log, its end never missed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from slipway_sandbox.nodes import guard
from slipway_sandbox.nodes.kubelet.logs import ContainerLog

# How long after a process's end its pipes may still deliver what it wrote: only a stray child could hold them longer.
DRAIN_SECONDS = 0.5
STREAMS = (1, 2)  # standard output and error
# in the environment of a container's first process and of all it starts, as far as they pass their own on
MARK = "SLIPWAY_SANDBOX_PROCESS"


class ProcessGuard:
    """The process that kills every pod process when this one dies by kill -9 (see `slipway_sandbox.nodes.guard`)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.groups: set[int] = set()

    def open(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )

    def close(self) -> None:
        """End the guard; what is still registered dies with it."""
        if self._process and self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(timeout=5)

    def add(self, group: int) -> None:
        self.groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        self.groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        """Raises BrokenPipeError when someone killed the guard: no pod may start unguarded."""
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            raise BrokenPipeError("the process guard does not run")
        os.write(self._process.stdin.fileno(), line.encode())


class _Stream(asyncio.Protocol):
    """Standard output or error of a process: `fd` is 1 or 2."""

    def __init__(self, process: ContainerProcess, fd: int) -> None:
        self._process, self._fd = process, fd

    def data_received(self, data: bytes) -> None:
        self._process.pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._process.stream_ended()


class ContainerProcess(asyncio.SubprocessProtocol):
    """One started process. `exited` resolves to its return code, -N after signal N, once its output is in the log too."""

    def __init__(self, guard: ProcessGuard, log: ContainerLog, mark: str) -> None:
        self._guard = guard
        self._mark = mark
        self._log = log
        self._transport: asyncio.SubprocessTransport | None = None
        self._code: int | None = None
        self._streams = len(STREAMS)
        self._pipes: list[asyncio.BaseTransport] = []
        self.pid = 0
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def watch(self) -> None:
        """Tell the guard of a process that still runs. Raises BrokenPipeError."""
        if self._code is None:
            self._guard.add(self.pid)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._log.feed(fd, data)

    def process_exited(self) -> None:
        assert self._transport is not None
        self._code = self._transport.get_returncode()
        # a container ends with its first process, whatever that one started, in a session of its own, too
        self.kill_group(signal.SIGKILL)
        kill_marked(self._mark)
        with contextlib.suppress(BrokenPipeError):  # a dead guard stops the next start, and no end
            self._guard.remove(self.pid)
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._finish)
        if self._streams == 0:
            self._finish()

    def read_from(self, pipe: asyncio.BaseTransport) -> None:
        """Keep a pipe of the output, to close it when the process has ended."""
        self._pipes.append(pipe)

    def stream_ended(self) -> None:
        self._streams -= 1
        if self._streams == 0:
            self._finish()

    def _finish(self) -> None:
        if self.exited.done() or self._code is None:
            return
        self._log.end()
        self.exited.set_result(self._code)
        for pipe in (*self._pipes, self._transport):
            if pipe:
                pipe.close()

    def signal(self, number: int) -> None:
        """To the container's first process only, as a runtime does."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def kill_marked(mark: str) -> None:
    """Kill -9 every process that has `mark` in its environment."""
    entry = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # a process that has ended meanwhile, or another user's
        with contextlib.suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    directory: Path,
    log: ContainerLog,
    guard: ProcessGuard,
) -> ContainerProcess:
    """Start `argv` in its own session. Raises OSError when the program cannot be run.

    Its output goes to pipes, as a runtime's does: uvloop's own are sockets, which no process can open as /dev/stdout.
    """
    loop = asyncio.get_running_loop()
    mark = uuid.uuid4().hex
    pipes = [os.pipe() for _ in STREAMS]
    # uvloop 0.23 closes the descriptor and then the file (handles/handle.pyx, UVSocketHandle._close): a second close of the
    # number, which another thread may have got meanwhile. So closing the file closes nothing
    readers = [os.fdopen(reading, "rb", buffering=0, closefd=False) for reading, _ in pipes]
    try:
        _, process = await loop.subprocess_exec(
            lambda: ContainerProcess(guard, log, mark),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipes[0][1],
            stderr=pipes[1][1],
            env={**env, MARK: mark},
            cwd=directory,
            start_new_session=True,
        )
        _watched(process)
    except BaseException:
        for reading, _ in pipes:
            os.close(reading)
        raise
    finally:
        for _, writing in pipes:
            os.close(writing)
    for fd, reader in zip(STREAMS, readers, strict=True):
        pipe, _ = await loop.connect_read_pipe(partial(_Stream, process, fd), reader)
        process.read_from(pipe)
    return process


def _watched(process: ContainerProcess) -> None:
    """Raises BrokenPipeError, with the process killed."""
    try:
        process.watch()
    except BrokenPipeError:
        process.kill_group(signal.SIGKILL)
        raise


async def run_briefly(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    directory: Path,
    guard: ProcessGuard,
    timeout: float,
) -> tuple[int, str]:
    """Exit code and output of a hook or probe command. Raises TimeoutError after `timeout` seconds, OSError as `start`."""
    log = ContainerLog(limit=64 * 1024)
    process = await start(argv, env=env, directory=directory, log=log, guard=guard)
    try:
        code = await asyncio.wait_for(asyncio.shield(process.exited), timeout)
    finally:
        process.kill_group(signal.SIGKILL)
    return code, log.tail_text(10 * 1024)

"""Nothing a pod started outlives the sandbox, however it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway_sandbox.nodes.kubelet.logs import ContainerLog, LogQuery
from slipway_sandbox.nodes.kubelet.process import ProcessGuard, run_briefly, start

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Starts a pod process that has a child of its own, tells both pids and waits to be killed.
HOST = """
import asyncio, pathlib
from slipway_sandbox.nodes.kubelet.logs import ContainerLog
from slipway_sandbox.nodes.kubelet.process import ProcessGuard, start

async def main():
    guard = ProcessGuard()
    guard.open()
    log = ContainerLog()
    await start(["/bin/sh", "-c", "sleep 300 & echo $! $$; wait"], env={}, directory=pathlib.Path("/"), log=log, guard=guard)
    while not (text := log.tail_text(100)):
        await asyncio.sleep(0.01)
    print(text, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(holds: Callable[[], bool], seconds: float = 5) -> bool:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_pod_processes_and_their_children_die_with_the_nodes_process(how: signal.Signals) -> None:
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", HOST, stdout=asyncio.subprocess.PIPE)
    assert host.stdout is not None
    pids = [int(word) for word in (await host.stdout.readline()).split()]
    assert [alive(pid) for pid in pids] == [True, True]
    host.send_signal(how)
    await host.wait()
    assert await until(lambda: not any(map(alive, pids)))


async def test_a_process_needs_a_guard_that_lives(tmp_path: Path) -> None:
    guard = ProcessGuard()
    guard.open()
    guard.close()
    with pytest.raises(BrokenPipeError):
        await start(["/bin/sleep", "60"], env={}, directory=tmp_path, log=ContainerLog(), guard=guard)


async def test_a_container_ends_with_its_first_process_whatever_session_the_others_are_in(
    tmp_path: Path,
) -> None:
    guard = ProcessGuard()
    guard.open()
    log = ContainerLog()
    process = await start(
        ["/bin/sh", "-c", "setsid sleep 300 & echo $!; wait"],
        env={},
        directory=tmp_path,
        log=log,
        guard=guard,
    )
    assert await until(lambda: bool(log.tail_text(100)))
    child = int(log.tail_text(100))
    process.signal(signal.SIGKILL)
    await process.exited
    assert await until(lambda: not alive(child))
    guard.close()


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    guard = ProcessGuard()
    guard.open()
    marker = tmp_path / "late"
    with pytest.raises(TimeoutError):
        await run_briefly(
            ["/bin/sh", "-c", f"sleep 0.6; touch {marker}"],
            env={},
            directory=tmp_path,
            guard=guard,
            timeout=0.2,
        )
    await asyncio.sleep(0.6)
    assert not await asyncio.to_thread(marker.exists)
    guard.close()


async def read(log: ContainerLog, **query: object) -> bytes:
    return b"".join([chunk async for chunk in log.read(LogQuery(**query))])  # type: ignore[arg-type]


async def test_a_log_is_bounded_and_loses_its_oldest_lines() -> None:
    log = ContainerLog(limit=30)
    for number in range(10):
        log.feed(1, b"line %d....\n" % number)
    assert await read(log) == b"line 8....\nline 9....\n"


async def test_a_last_line_without_newline_is_kept() -> None:
    log = ContainerLog()
    log.feed(1, b"first\nsec")
    log.feed(1, b"ond")
    log.end()
    assert await read(log) == b"first\nsecond"


async def test_a_long_line_that_comes_in_pieces_is_read_as_one() -> None:
    log = ContainerLog()
    line = b"x" * 40_000
    log.feed(1, b"first\n" + line[:20_000])
    log.feed(1, line[20_000:] + b"\nlast\n")
    log.end()
    assert await read(log) == b"first\n" + line + b"\nlast\n"
    # as a kubelet counts: each piece is a line of its own
    assert await read(log, tail_lines=1) == b"last\n"
    assert (await read(log, timestamps=True)).count(b"Z ") == 3


async def test_two_streams_do_not_tear_each_others_lines() -> None:
    log = ContainerLog()
    log.feed(1, b"out ")
    log.feed(2, b"error\n")
    log.feed(1, b"put\n")
    assert await read(log) == b"error\nout put\n"


async def test_since_leaves_out_what_is_older() -> None:
    now = [0]
    log = ContainerLog(clock=lambda: now[0])
    log.feed(1, b"old\n")
    now[0] = 10 * 10**9
    log.feed(1, b"new\n")
    assert await read(log, since_seconds=5.0) == b"new\n"
    assert await read(log, timestamps=True) == (
        b"1970-01-01T00:00:00.000000000Z old\n1970-01-01T00:00:10.000000000Z new\n"
    )


async def test_a_follower_gets_lines_as_they_come_and_ends_with_the_container() -> None:
    log = ContainerLog()
    log.feed(1, b"one\n")
    following = asyncio.create_task(read(log, follow=True, tail_lines=0))
    await asyncio.sleep(0)
    log.feed(1, b"two\n")
    await asyncio.sleep(0)
    log.feed(1, b"three\n")
    log.end()
    assert await following == b"two\nthree\n"

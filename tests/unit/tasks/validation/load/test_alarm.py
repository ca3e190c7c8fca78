"""When a wait ends: never before its time, and always. How late is measured by bench.load, not asserted here."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
import uvloop

from tasks.validation.load.alarm import Alarm

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def waits(*seconds: float) -> list[float]:
    """How long after its time each of them ended."""
    late = []
    with Alarm() as alarm:
        for wait in seconds:
            due = time.perf_counter() + wait
            await asyncio.wait_for(alarm.until(due), 10)
            late.append(time.perf_counter() - due)
    return late


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_wait_never_ends_before_its_time(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert min(runner.run(waits(0.02, 0.0001, 0.003, 0.0, -1.0, 0.01))) >= 0


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_wait_ends_without_its_signal_too(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert min(runner.run(waits(0.01, 0.01))) >= 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.sigtimedwait({signal.SIGALRM}, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def test_others_get_their_turn_while_one_waits() -> None:
    async def both() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        counting = asyncio.create_task(count())
        await waits(0.05)
        counting.cancel()
        return turns

    assert asyncio.run(both()) > 1

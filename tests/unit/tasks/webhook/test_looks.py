"""Runs of slipway-watch are started one at a time, once for many commits, and once more for a commit that came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tasks.cloud.flow_runs import Run
from tasks.records.errors import PrefectUnavailable
from tasks.webhook.looks import AGAIN_SECONDS, LOOK_SECONDS, STATE_SECONDS, Looks, settles_at

RUNNING, DONE = Run("RUNNING", True), Run("COMPLETED", True)
NEVER_BEGAN, STOPPED = Run("CANCELLED", False), Run("CANCELLED", True)


class Prefect:
    """Runs that a test ends; time that passes only in sleeps."""

    def __init__(self, *answers: Run | Exception) -> None:
        self.answers = list(answers)
        self.keys: list[tuple[str, str]] = []
        self.now = 0.0
        self.meanwhile: Callable[[], None] = lambda: None

    def start(self, model: str, key: str) -> Run:
        self.keys.append((model, key))
        answer = self.answers.pop(0) if self.answers else DONE
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()
        await asyncio.sleep(0)

    @property
    def runs(self) -> list[str]:
        """The model of each run that was started, in order."""
        return [model for model, _ in dict.fromkeys(self.keys)]


@asynccontextmanager
async def looking(prefect: Prefect, settle: float = 10.0) -> AsyncIterator[Looks]:
    looks = Looks(prefect.start, settle, prefect.sleep, lambda: prefect.now)
    task = asyncio.create_task(looks.run())
    yield looks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ended(prefect: Prefect, count: int) -> None:
    async with asyncio.timeout(10):
        while len(prefect.runs) < count or prefect.answers:  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # nothing more comes
    assert len(prefect.runs) == count


async def test_ten_commits_in_a_row_are_one_run() -> None:
    prefect = Prefect(RUNNING, DONE)
    async with looking(prefect) as looks:
        for _ in range(10):
            looks.want("a")
        await ended(prefect, 1)
    assert prefect.now == 10.0 + STATE_SECONDS


async def test_a_commit_that_comes_while_a_run_goes_on_is_looked_at_after_it() -> None:
    prefect = Prefect(RUNNING, RUNNING, DONE, DONE)
    async with looking(prefect) as looks:
        looks.want("a")
        prefect.meanwhile = lambda: looks.want("a") if len(prefect.keys) == 2 else None
        await ended(prefect, 2)
    assert prefect.runs == ["a", "a"]


async def test_two_models_are_looked_at_one_after_the_other() -> None:
    prefect = Prefect(RUNNING, DONE, RUNNING, DONE)
    async with looking(prefect) as looks:
        looks.want("a")
        looks.want("b")
        await ended(prefect, 2)
    assert [model for model, _ in prefect.keys] == ["a", "a", "b", "b"]


async def test_a_run_that_another_one_kept_from_beginning_is_asked_for_again() -> None:
    prefect = Prefect(NEVER_BEGAN, NEVER_BEGAN, DONE)
    async with looking(prefect) as looks:
        looks.want("a")
        await ended(prefect, 3)
    assert prefect.now == 10.0 + 2 * AGAIN_SECONDS


@pytest.mark.parametrize("end", [STOPPED, Run("FAILED", True), Run("CRASHED", True)])
async def test_a_run_that_began_is_not_repeated_however_it_ended(end: Run) -> None:
    prefect = Prefect(RUNNING, end)
    async with looking(prefect) as looks:
        looks.want("a")
        await ended(prefect, 1)


async def test_a_prefect_that_does_not_answer_is_asked_again_for_the_same_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prefect = Prefect(PrefectUnavailable("away", next_command="x"), RUNNING, DONE)
    async with looking(prefect) as looks:
        looks.want("a")
        await ended(prefect, 1)
    assert "a: away" in caplog.text


async def test_a_run_that_does_not_end_is_left_to_the_schedule(caplog: pytest.LogCaptureFixture) -> None:
    prefect = Prefect(*[RUNNING] * int(LOOK_SECONDS / STATE_SECONDS))
    async with looking(prefect) as looks:
        looks.want("a")
        await ended(prefect, 1)
        looks.want("b")
        await ended(prefect, 2)
    assert "its schedule looks again" in caplog.text


@pytest.mark.parametrize(
    ("first", "last", "at"),
    [(0.0, 0.0, 10.0), (0.0, 8.0, 18.0), (0.0, 40.0, 50.0), (0.0, 49.0, 50.0), (100.0, 120.0, 130.0)],
)
def test_commits_that_never_cease_do_not_put_it_off_for_ever(first: float, last: float, at: float) -> None:
    assert settles_at(first, last, 10.0) == at

"""Every button and every kill in every stage, then at random moments: `make buttons`, with `N=50` for the nightly.

After each: what serves, the ledger, the turn, the run's state, and nothing done twice.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.platform import TERMINAL, Platform, eventually, runs
from tests.support.standin.world import STAGES, Serving

PROVEN = Serving(live="r1", serving="r1", rolling=None)
PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
ROUNDS = int(os.environ.get("N", "3"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
# the heartbeats' automation, the rollback after it, and a look where its event was lost
HEARTBEAT_SECONDS = 240.0
PACE_SECONDS = 1.5


@dataclass(frozen=True)
class Action:
    """What happens to a run `run` of process `pid`, and how it has to end."""

    does: Callable[[Platform, str, int], None]
    state: str
    serving: Serving


def cancel(platform: Platform, run: str, pid: int) -> None:
    platform.cancel(run)


def retry(platform: Platform, run: str, pid: int) -> None:
    platform.cancel(run)
    if platform.ended(run) == "COMPLETED":
        return
    eventually(lambda: platform.turn() is None, "the turn is free")
    platform.retry(run)
    platform.world.let_go()


def kill_run(platform: Platform, run: str, pid: int) -> None:
    kill(pid)


def kill_worker(platform: Platform, run: str, pid: int) -> None:
    platform.kill("worker")
    platform.start_worker()
    platform.world.let_go()


def kill_worker_with_run(platform: Platform, run: str, pid: int) -> None:
    platform.kill("worker")
    kill(pid)
    platform.start_worker()


def kill(pid: int) -> None:
    """kill -9, unless it has ended meanwhile."""
    if runs(pid):
        os.kill(pid, signal.SIGKILL)


def kill_server(platform: Platform, run: str, pid: int) -> None:
    platform.kill("server")
    platform.start_server()
    platform.world.let_go()


ACTIONS = {
    "cancel": Action(cancel, "CANCELLED", PUT_BACK),
    "retry": Action(retry, "COMPLETED", PROVEN),
    "kill run": Action(kill_run, "CRASHED", PUT_BACK),
    "kill worker": Action(kill_worker, "COMPLETED", PROVEN),
    "kill worker with run": Action(kill_worker_with_run, "CRASHED", PUT_BACK),
    "kill server": Action(kill_server, "COMPLETED", PROVEN),
}


def undoers(platform: Platform) -> int:
    """How many runs were started that undo what another left."""
    return len(platform.runs_of("rollback"))


def settled(platform: Platform, run: str, undone_before: int, *, retried: bool) -> None:
    """Nothing is under way, nothing unproven serves, nobody has the turn, and nothing was done twice."""
    eventually(lambda: platform.state(run) in TERMINAL, "the run ends", HEARTBEAT_SECONDS)
    eventually(lambda: consistent(platform.world.read()), "what serves is proven", HEARTBEAT_SECONDS)
    if platform.state(run) in ("CRASHED", "CANCELLED"):
        # or it would come into the next test; a run that was killed leaves the turn to it
        eventually(lambda: undoers(platform) > undone_before, "somebody looks after it", HEARTBEAT_SECONDS)
    platform.settled()
    assert platform.turn() is None
    served = platform.world.read()
    assert consistent(served)
    done = [entry for entry in platform.world.entries() if entry.what == "end"]
    provers = [entry.pid for entry in done if entry.stage == "proof"]
    # a run that was cancelled after its proof and is retried proves again: each of its processes once
    assert len(provers) == len(set(provers))
    assert len(provers) in (((1, 2) if retried else (1,)) if served == PROVEN else (0,))
    assert [entry.stage for entry in done].count("undo") <= 1
    pids = {entry.pid for entry in platform.world.entries()}
    eventually(lambda: not any(map(runs, pids)), "its processes end")


def consistent(serving: Serving) -> bool:
    return serving in (PROVEN, PUT_BACK)


# CI runs one, so that what the others stand on is seen to work on every change
IN_CI = ("cancel", "rollout")
CASES = [
    pytest.param(name, stage, marks=[pytest.mark.long] * ((name, stage) != IN_CI))
    for name in ACTIONS
    for stage in STAGES
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "stage"), CASES)
def test_it_ends_well_in_every_stage(platform: Platform, name: str, stage: str) -> None:
    action = ACTIONS[name]
    platform.world.hold(stage)
    before = undoers(platform)
    run = platform.deploy()
    action.does(platform, run, platform.in_stage(stage))
    settled(platform, run, before, retried=name == "retry")
    assert platform.state(run) == action.state
    assert platform.world.read() == action.serving
    done = [entry.stage for entry in platform.world.entries() if entry.what == "end"]
    if name != "retry":
        # the retry and the rollback come in either order
        begun = stage in ("rollout", "validation") and action.serving == PUT_BACK
        assert done.count("undo") == (1 if begun else 0)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_it_ends_well_at_a_random_moment(platform: Platform, number: int) -> None:
    # of every round its own, so that one can be repeated: SEED=… N=… pytest -k [NUMBER]
    chosen = random.Random(f"{SEED}-{number}")
    name, after = chosen.choice([*ACTIONS]), chosen.uniform(0, (len(STAGES) + 2) * PACE_SECONDS)
    print(f"SEED={SEED} round {number}: {name} after {after:.2f} s")
    platform.world.pace(PACE_SECONDS)
    before = undoers(platform)
    run = platform.deploy()
    pid = platform.in_stage("terraform")
    time.sleep(after)
    print(f"  in {platform.world.entries()[-1]}")
    ACTIONS[name].does(platform, run, pid)
    settled(platform, run, before, retried=name == "retry")
    if platform.state(run) == "COMPLETED":
        assert platform.world.read() == PROVEN

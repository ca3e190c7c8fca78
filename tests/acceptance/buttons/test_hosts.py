"""Workers on two hosts at one server: a lost host's run is undone by the other, and no two runs work on one cluster."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.platform import Platform, eventually
from tests.support.standin.world import Serving

pytestmark = pytest.mark.long

PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)
HOSTS = ("host-a", "host-b")


@pytest.fixture
def hosts(platform: Platform) -> Iterator[Platform]:
    """The platform with a worker on each of two hosts, in the place of its one."""
    platform.schedule("recover", on=False)
    platform.kill("worker")
    for host in HOSTS:
        platform.start_worker_on(host)
    yield platform
    platform.world.let_go()
    platform.settled()
    for host in HOSTS:
        platform.kill(host)
    platform.start_worker()


def holder(platform: Platform) -> str:
    held = platform.turn()
    assert held
    return str(held["host"])


def test_a_lost_host_s_run_is_undone_by_the_other(hosts: Platform) -> None:
    hosts.world.hold("rollout")
    run = hosts.deploy()
    pid = hosts.in_stage("rollout")
    lost = holder(hosts)
    assert lost in HOSTS
    hosts.kill(lost)
    os.kill(pid, signal.SIGKILL)
    assert hosts.ended(run) == "CRASHED"
    eventually(lambda: hosts.world.read() == PUT_BACK, "what served before is put back")
    eventually(lambda: hosts.turn() is None, "the turn is free")
    assert [entry.stage for entry in hosts.world.entries()].count("undo") == 1


def test_a_run_of_another_host_waits_for_the_cluster(hosts: Platform) -> None:
    hosts.world.hold("rollout")
    runs = [hosts.deploy(), hosts.deploy()]
    hosts.in_stage("rollout")
    eventually(lambda: [hosts.state(run) for run in runs] == ["RUNNING", "RUNNING"], "both run")
    first = holder(hosts)
    # a wrong takeover would need as long as a look at the turn and the time an ended holder is given
    with pytest.raises(pytest.fail.Exception):
        eventually(lambda: len({entry.pid for entry in hosts.world.entries()}) > 1, "the other works", 15)
    assert holder(hosts) == first
    hosts.world.let_go()
    assert [hosts.ended(run) for run in runs] == ["COMPLETED", "COMPLETED"]
    assert hosts.world.read() == PROVEN
    worked = [entry.pid for entry in hosts.world.entries()]
    assert len({*worked}) == 2
    # all of the one, then all of the other
    assert sum(before != after for before, after in itertools.pairwise(worked)) == 1

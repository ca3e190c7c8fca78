"""Runs of a Kubernetes work pool: each is a Job, which a person cancels, a drain evicts and a lost node takes away."""

from __future__ import annotations

import pytest

from tests.support.job_pool import IMAGE, SERVICE_ACCOUNT, JobPool
from tests.support.platform import eventually, runs
from tests.support.standin.world import Serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]

PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)
# a pod that starts Python and Prefect, on a busy machine
PATIENCE = 180.0


def put_back(pool: JobPool) -> None:
    """What served before serves again, put back once, by a Job of its own."""
    eventually(lambda: pool.world.read() == PUT_BACK, "what served before is put back", PATIENCE)
    eventually(lambda: pool.turn() is None, "the turn is free", PATIENCE)
    assert [entry.stage for entry in pool.world.entries()].count("undo") == 1


def test_a_deploy_is_a_job_as_the_template_says(pool: JobPool) -> None:
    run = pool.deploy()
    assert pool.ended(run, PATIENCE) == "COMPLETED", pool.tail("worker")
    assert pool.world.read() == PROVEN
    job = pool.job_of(run)["spec"]
    assert job["backoffLimit"] == 0
    pod = job["template"]["spec"]
    assert pod["serviceAccountName"] == SERVICE_ACCOUNT
    assert pod["terminationGracePeriodSeconds"] == 30
    [container] = pod["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}


def test_cancel_in_the_rollout(pool: JobPool) -> None:
    pool.world.hold("rollout")
    run = pool.deploy()
    pool.in_stage("rollout")
    pool.cancel(run)
    assert pool.ended(run, PATIENCE) == "CANCELLED"
    put_back(pool)


def test_a_run_whose_pod_is_lost_is_crashed_and_undone(pool: JobPool) -> None:
    pool.world.hold("rollout")
    run = pool.deploy()
    pool.lose_pod(pool.in_stage("rollout"))
    assert pool.ended(run, PATIENCE) == "CRASHED"
    put_back(pool)


def test_a_run_whose_pod_is_evicted_goes_on_in_another_job_or_is_undone(pool: JobPool) -> None:
    """Which of the two: Prefect's observer and the pod's own last word come in either order."""
    pool.world.hold("rollout")
    run = pool.deploy()
    first = pool.in_stage("rollout")
    pool.evict(run)
    eventually(lambda: not runs(first), "its process ends", PATIENCE)
    pool.world.let_go()

    def over() -> bool:
        goes_on = pool.state(run) == "COMPLETED" and pool.world.read() == PROVEN
        undone = pool.state(run) == "CRASHED" and pool.world.read() == PUT_BACK
        return (goes_on or undone) and pool.turn() is None

    eventually(over, "it is proven or undone, and the turn is free", PATIENCE)
    stages = [entry.stage for entry in pool.world.entries()]
    assert stages.count("undo") <= 1
    assert stages.count("proof") == (1 if pool.world.read() == PROVEN else 0)

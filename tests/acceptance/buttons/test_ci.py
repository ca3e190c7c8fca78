"""`slipway ci` against a real server and worker: followed, refused, cancelled, and no worker there."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.platform import Platform, eventually
from tests.support.severed import Way
from tests.support.standin.world import Serving

pytestmark = pytest.mark.long

DEPLOY = ("ci", "deploy", "tiny-llama", "-e", "sandbox")
PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)


def test_a_deploy_is_followed_to_its_end_and_its_summary_is_written(
    platform: Platform, tmp_path: Path
) -> None:
    page = tmp_path / "summary.md"
    done = platform.slipway(*DEPLOY, "--summary", str(page))
    assert done.end() == 0, done.output
    assert "Proven: release" in done.output
    assert page.read_text().startswith("## Proven")
    assert platform.world.read() == PROVEN


def test_a_worker_with_another_commit_refuses(platform: Platform) -> None:
    done = platform.slipway(*DEPLOY, "--ref", "f" * 40)
    assert done.end() == 2, done.output
    assert "CI asks for commit ffffffffffff, and this worker" in done.output
    assert platform.world.entries() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_ci_ends_cancels_its_run(platform: Platform, number: signal.Signals) -> None:
    platform.world.hold("rollout")
    job = platform.slipway(*DEPLOY)
    platform.in_stage("rollout")
    job.process.send_signal(number)
    assert job.end() == 130, job.output
    assert f"error: CI ended this job ({number.name})" in job.output
    [run] = [one for one in platform.runs_of("deploy") if one["state"]["type"] == "CANCELLED"][-1:]
    assert run["id"] in job.output
    eventually(lambda: platform.world.read() == PUT_BACK, "what served before is put back")
    platform.world.let_go()


def test_a_job_that_takes_too_long_cancels_its_run(platform: Platform) -> None:
    platform.world.hold("staging")
    job = platform.slipway(*DEPLOY, "--timeout", "1s")
    assert job.end() == 1, job.output
    assert "the run did not end within 1 s; it is cancelled" in job.output
    [run] = [one for one in platform.runs_of("deploy") if one["id"] in job.output]
    assert run["state"]["type"] == "CANCELLED"
    platform.world.let_go()
    assert platform.world.read() == PUT_BACK


def test_without_a_worker_the_run_is_cancelled_and_never_begins(platform: Platform) -> None:
    platform.kill("worker")
    # a worker that was killed counts as there for 90 s
    platform.call("DELETE", "/work_pools/slipway-sandbox/workers/w")
    job = platform.slipway(*DEPLOY)
    try:
        assert job.end() == 1, job.output
    finally:
        platform.start_worker()
    assert "no worker of the pool slipway-sandbox took the run" in job.output
    assert "next: prefect worker start --pool slipway-sandbox" in job.output
    assert platform.world.entries() == []


def test_an_environment_without_deployments_is_told(platform: Platform) -> None:
    done = platform.slipway("ci", "promote", "tiny-llama", "-e", "sandbox")
    assert done.end() == 2, done.output
    assert "Prefect has no deployment slipway-promote/sandbox" in done.output
    assert "next: slipway prefect apply -e sandbox" in done.output


def test_a_prefect_that_stops_answering_is_told_and_the_run_goes_on(platform: Platform) -> None:
    platform.world.hold("staging")
    with Way(platform.port) as way:
        job = platform.slipway(*DEPLOY, PREFECT_API_URL=f"http://127.0.0.1:{way.port}/api")
        platform.in_stage("staging")
        way.cut()
        assert job.end() == 1, job.output
    name = job.output.partition(":")[0]
    assert f"error: Prefect does not answer, and the run {name} may go on without this job: " in job.output
    [run] = [one for one in platform.runs_of("deploy") if one["id"] in job.output]
    assert f"next: prefect flow-run inspect {run['id']}" in job.output
    assert "Traceback" not in job.output
    platform.world.let_go()
    assert platform.ended(run["id"]) == "COMPLETED"
    assert platform.world.read() == PROVEN

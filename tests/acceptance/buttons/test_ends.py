"""Cancel, retry and kill -9 of a worker's run: what serves after it, who undid it, and whose turn it is."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.support.platform import SILENT_SECONDS, Platform, eventually, runs
from tests.support.platform_fixtures import Webhook
from tests.support.stage import DEPLOYED
from tests.support.standin.world import Serving

pytestmark = pytest.mark.long

PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)


def put_back(platform: Platform) -> None:
    """What served before serves again, put back once."""
    eventually(lambda: platform.world.read() == PUT_BACK, "what served before is put back")
    eventually(lambda: platform.turn() is None, "the turn is free")
    assert [entry.stage for entry in platform.world.entries()].count("undo") == 1


@pytest.fixture(scope="module", autouse=True)
def alone(started: Platform) -> None:
    """No scheduled look: what is seen here is done by the events."""
    started.schedule("recover", on=False)


def test_cancel_in_the_rollout(platform: Platform) -> None:
    platform.world.hold("rollout")
    run = platform.deploy()
    pid = platform.in_stage("rollout")
    began = time.monotonic()
    platform.cancel(run)
    eventually(lambda: not runs(pid), "the process ends", 20)
    assert time.monotonic() - began < 20
    assert platform.ended(run) == "CANCELLED"
    put_back(platform)
    assert "roll_out" in platform.artifact(run, "failure")


def test_cancel_in_terraform_keeps_the_turn_until_its_state_is_written(platform: Platform) -> None:
    platform.world.hold("terraform")
    run = platform.deploy()
    pid = platform.in_stage("terraform")
    eventually((platform.world.folder / "terraform-runs").exists, "terraform runs")
    platform.cancel(run)
    eventually(lambda: platform.turn() is None, "the turn is free", 25)
    assert (platform.world.folder / "tfstate").read_text() == "half"
    assert [entry.what for entry in platform.world.entries() if entry.stage == "terraform"] == [
        "begin",
        "stopped",
    ]
    eventually(lambda: not runs(pid), "the process ends", 20)
    assert platform.ended(run) == "CANCELLED"
    assert platform.world.read() == PUT_BACK


def test_a_retried_run_that_waits_for_its_turn_goes_on_under_its_own_name(platform: Platform) -> None:
    platform.world.hold("staging")
    cancelled = platform.deploy()
    first = platform.in_stage("staging")
    platform.cancel(cancelled)
    platform.ended(cancelled)
    other = platform.deploy()
    platform.in_stage("staging", beside=first)
    platform.retry(cancelled)
    eventually(lambda: platform.state(cancelled) == "RUNNING", "the retry runs")
    time.sleep(8)
    assert platform.state(cancelled) == "RUNNING"
    platform.world.let_go()
    assert platform.ended(other) == "COMPLETED"
    assert platform.ended(cancelled) == "COMPLETED"
    assert platform.states(cancelled).count("CRASHED") == 0
    assert platform.world.read() == PROVEN


def test_kill_9_of_a_run_in_validation(platform: Platform, webhook: Webhook) -> None:
    platform.world.hold("validation")
    run = platform.deploy()
    os.kill(platform.in_stage("validation"), signal.SIGKILL)
    assert platform.ended(run) == "CRASHED"
    put_back(platform)
    eventually(
        lambda: [told["state"] for told in webhook.heard if told["run"] == run], "the webhook hears of it"
    )


def test_a_worker_host_that_dies_is_found_by_its_heartbeats(platform: Platform) -> None:
    platform.world.hold("rollout")
    run = platform.deploy()
    pid = platform.in_stage("rollout")
    platform.kill("worker")
    os.kill(pid, signal.SIGKILL)
    platform.start_worker()
    assert platform.ended(run) == "CRASHED"
    assert platform.message(run).startswith("no heartbeat for")
    put_back(platform)


def test_cancel_reaches_a_run_whose_worker_was_killed(platform: Platform) -> None:
    platform.world.hold("rollout")
    run = platform.deploy()
    pid = platform.in_stage("rollout")
    platform.kill("worker")
    platform.start_worker()
    platform.cancel(run)
    eventually(lambda: not runs(pid), "the process ends", 60)
    assert platform.ended(run) == "CANCELLED"
    put_back(platform)


def test_what_no_event_undid_the_next_look_undoes(platform: Platform) -> None:
    platform.world.hold("rollout")
    with platform.without("undo-a-stopped-rollout-sandbox"):
        run = platform.deploy()
        os.kill(platform.in_stage("rollout"), signal.SIGKILL)
        assert platform.ended(run) == "CRASHED"
        platform.settled()
        assert platform.world.read().live == "r1"
        assert platform.ended(platform.start("recover")) == "COMPLETED"
    put_back(platform)


def test_a_look_leaves_a_rollout_to_the_run_that_works(platform: Platform) -> None:
    platform.world.hold("rollout")
    run = platform.deploy()
    platform.in_stage("rollout")
    assert platform.ended(platform.start("recover")) == "COMPLETED"
    assert platform.world.read().rolling == "r1"
    platform.world.let_go()
    assert platform.ended(run) == "COMPLETED"
    assert platform.world.read() == PROVEN


def test_a_run_that_was_crashed_while_its_process_lives_is_running_again(platform: Platform) -> None:
    platform.world.hold("warming")
    run = platform.deploy()
    platform.in_stage("warming")
    # what the automation does once a server is back that was away for longer than it waits
    platform.set_state(run, "CRASHED", name="Crashed", message="no heartbeat for 90 s")
    eventually(lambda: platform.state(run) == "RUNNING", "it runs again", 30)
    platform.world.let_go()
    assert platform.ended(run) == "COMPLETED"
    assert platform.world.read() == PROVEN


def test_cancel_of_a_slipway_command_in_the_rollout(platform: Platform) -> None:
    platform.world.hold("rollout")
    command = platform.slipway("deploy", "tiny-llama", "-e", "sandbox")
    pid = platform.in_stage("rollout")
    [run] = [one["id"] for one in platform.runs_of("deploy") if one["state"]["type"] == "RUNNING"]
    platform.cancel(run)
    assert command.end(30) == 130, command.output
    assert "error: cancelled in Prefect" in command.output
    assert "Traceback" not in command.output
    assert not runs(pid)
    assert platform.ended(run) == "CANCELLED"
    put_back(platform)
    assert "cancelled" in platform.artifact(run, "failure")


def test_a_run_that_lost_its_turn_is_stopped_and_undoes_nothing(platform: Platform) -> None:
    platform.world.hold("rollout")
    command = platform.slipway("deploy", "tiny-llama", "-e", "sandbox")
    platform.in_stage("rollout")
    platform.lose_turn()
    assert command.end(30) == 1, command.output
    assert "error: this run lost its turn on slipway-sandbox" in command.output
    assert platform.world.read().rolling == "r1"
    assert "undo" not in {entry.stage for entry in platform.world.entries()}


def test_a_server_killed_and_restarted_in_a_run_leaves_the_turn_with_it_and_then_free(
    platform: Platform,
) -> None:
    platform.world.hold("warming")
    run = platform.deploy()
    platform.in_stage("warming")
    holder = platform.turn()
    platform.kill("server")
    platform.start_server()
    platform.world.let_go()
    assert platform.ended(run) == "COMPLETED"
    assert holder
    assert holder["run"] == run
    assert platform.turn() is None
    assert platform.world.read() == PROVEN
    assert platform.ended(platform.deploy()) == "COMPLETED"


@pytest.mark.parametrize("stage", ["warming", "rollout"])
def test_a_paused_run_ends_where_the_next_task_would_begin_and_is_resumed(
    platform: Platform, stage: str
) -> None:
    platform.world.hold(stage)
    run = platform.deploy()
    pid = platform.in_stage(stage)
    platform.pause(run)
    # Prefect's observer in the run polls every 10 s where it misses the event
    time.sleep(12)
    platform.world.let_go()
    eventually(lambda: not runs(pid), "the process ends")
    eventually(lambda: platform.turn() is None, "the turn is free")
    if stage == "warming":
        # it has no heartbeat, and is not dead
        time.sleep(SILENT_SECONDS + 5)
    assert platform.state(run) == "PAUSED"
    assert platform.world.read() == PUT_BACK
    assert "validation" not in {entry.stage for entry in platform.world.entries()}
    platform.resume(run)
    assert platform.ended(run) == "COMPLETED"
    assert platform.world.read() == PROVEN


def test_a_proven_release_is_an_event_that_an_automation_of_others_hears(platform: Platform) -> None:
    # the stand-in's release is of another model than the run was asked for
    model = f"slipway.model.sandbox.{DEPLOYED.record.release.model}"
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": "slipway.model.sandbox.*"},
        "expect": ["slipway.release.proven"],
        "threshold": 1,
        "within": 0,
    }
    action = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": platform.deployment("idle"),
        "parameters": {},
    }
    chained = {"name": "after-a-proof", "trigger": trigger, "actions": [action]}
    made = platform.call("POST", "/automations/", chained)
    try:
        before = len(platform.runs_of("idle"))
        assert platform.ended(platform.deploy()) == "COMPLETED"
        eventually(lambda: len(platform.runs_of("idle")) > before, "the automation starts its run")
        wanted = {"filter": {"event": {"name": ["slipway.release.proven"]}, "resource": {"id": [model]}}}
        # Prefect writes events some seconds after its automations have heard them
        told = eventually(lambda: platform.call("POST", "/events/filter", wanted)["events"], "it is written")
        assert told[0]["payload"]["release"]
        related = {one["prefect.resource.id"] for one in told[0]["related"]}
        assert "slipway.environment.sandbox" in related
        assert any(one.startswith("prefect.flow-run.") for one in related)
    finally:
        platform.call("DELETE", f"/automations/{made['id']}")

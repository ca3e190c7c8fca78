"""A protected environment waits for a person: in Prefect's UI, at the terminal, or said by CI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.platform import Platform, eventually, runs
from tests.support.screens import TERMINAL, Screen
from tests.support.standin.world import VARIABLE, Serving

pytestmark = pytest.mark.long

PUT_BACK = Serving(live="r0", serving="r0", rolling=None)
PROVEN = Serving(live="r1", serving="r1", rolling=None)
GUARDED = "guarded"
ANN = {"approver": "ann", "reason": "it is Monday"}


@pytest.fixture(scope="module", autouse=True)
def guarded(started: Platform) -> Iterator[None]:
    """A protected environment that takes what is proven in `sandbox`, with a worker of its own."""
    write_environment(started)
    applied = started.slipway("prefect", "apply", "-e", GUARDED)
    assert applied.end() == 0, applied.output
    started.only_stand_ins()
    started.schedule("recover", on=False)
    started._start("guard", ["prefect", "worker", "start", "--pool", f"slipway-{GUARDED}"], {})
    yield
    started.kill("guard")


@pytest.fixture
def platform(platform: Platform) -> Iterator[Platform]:
    yield platform
    write_environment(platform)


def write_environment(platform: Platform, **deadlines: Any) -> None:
    folder = platform.folder / "project" / "environments"
    document = yaml.safe_load((folder / "sandbox.yaml").read_text())
    document["cluster"]["name"] = "slipway-guarded"
    document |= {"name": GUARDED, "protected": True, "promote_from": "sandbox"}
    document["deadlines"] |= deadlines
    (folder / f"{GUARDED}.yaml").write_text(yaml.safe_dump(document))


def start(platform: Platform, flow: str = "promote", **parameters: str) -> str:
    of = platform.call("GET", f"/deployments/name/slipway-{flow}/{GUARDED}")["id"]
    more = {"model": "tiny-llama"} if flow == "promote" else {"confirm": GUARDED}
    body = {"parameters": {**more, **parameters}}
    return str(platform.call("POST", f"/deployments/{of}/create_flow_run", body)["id"])


def waits(platform: Platform, run: str) -> None:
    """Until the run is suspended: nothing of it runs, and the cluster is free."""
    eventually(lambda: platform.state_name(run) == "Suspended", "the run is suspended")
    # what was resumed before is no longer what it waits for
    eventually(lambda: inputs(platform, run, "schema"), "the form is there")
    eventually(lambda: platform.turn("slipway-guarded") is None, "the turn is free")


def inputs(platform: Platform, run: str, kind: str) -> list[Any]:
    """What the run asks with: Prefect 3.8.8 keeps each value as JSON (prefect/input/actions.py, create_flow_run_input)."""
    found = platform.call(
        "POST", f"/flow_runs/{run}/input/filter", {"prefix": "suspended-approval-", "limit": 50}
    )
    return [json.loads(one["value"]) for one in found if one["key"].endswith(f"-{kind}")]


def answer(platform: Platform, run: str, **given: str) -> str:
    """What the UI's form sends; the status of Prefect's answer."""
    return str(platform.call("POST", f"/flow_runs/{run}/resume", {"run_input": given})["status"])


def approval(platform: Platform) -> dict[str, str]:
    """What was written into the ledger with the release."""
    return dict(json.loads((platform.world.folder / "approval.json").read_text()))


def test_a_promotion_waits_without_the_turn_and_goes_on_as_approved(platform: Platform) -> None:
    (platform.world.folder / "plan").write_text("aws_eks_cluster.this\n")
    run = start(platform)
    waits(platform, run)
    page = platform.artifact(run, "approval")
    for told in (
        "promote llama into guarded?",
        "1.54 USD an hour",
        "| cluster | update | aws_eks_cluster.this |",
    ):
        assert told in page
    # Prefect writes it after the form
    eventually(lambda: inputs(platform, run, "description") == [page], "the page is above the form")
    assert platform.world.entries() == []
    time.sleep(5)
    assert platform.state_name(run) == "Suspended"
    assert answer(platform, run, **ANN) == "ACCEPT"
    assert platform.ended(run) == "COMPLETED"
    assert platform.world.read() == PROVEN
    kept = approval(platform)
    assert {name: kept[name] for name in ("approver", "reason", "how")} == {**ANN, "how": "in Prefect"}


@pytest.mark.parametrize("given", [{}, {"approver": "ann"}, {"approver": "", "reason": "why"}])
def test_a_form_that_is_not_filled_in_resumes_nothing(platform: Platform, given: dict[str, str]) -> None:
    run = start(platform)
    waits(platform, run)
    assert answer(platform, run, **given) == "REJECT"
    assert platform.state_name(run) == "Suspended"
    platform.cancel(run)
    assert platform.ended(run) == "CANCELLED"
    assert platform.world.entries() == []
    assert platform.world.read() == PUT_BACK


def test_where_the_plan_has_changed_meanwhile_it_is_asked_again(platform: Platform) -> None:
    run = start(platform)
    waits(platform, run)
    (platform.world.folder / "plan").write_text("aws_kms_key.cluster\n")
    assert answer(platform, run, **ANN) == "ACCEPT"
    eventually(lambda: len(inputs(platform, run, "schema")) == 2, "it is asked again")
    waits(platform, run)
    assert "aws_kms_key.cluster" in platform.artifact(run, "approval")
    assert platform.world.entries() == []
    assert answer(platform, run, approver="bob", reason="the new key") == "ACCEPT"
    assert platform.ended(run) == "COMPLETED"
    assert approval(platform)["approver"] == "bob"


def test_a_question_nobody_answers_ends_the_run_at_its_deadline(platform: Platform) -> None:
    write_environment(platform, approval="2s")
    run = start(platform)
    assert platform.ended(run) == "FAILED"
    assert "never resumed" in platform.message(run)
    assert platform.world.entries() == []


def test_ci_with_a_protection_of_its_own_says_who_approved(platform: Platform) -> None:
    words = ("ci", "promote", "tiny-llama", "-e", GUARDED)
    job = platform.slipway(*words, "--approved-by", "ann", "--reason", "reviewed in CI")
    assert job.end() == 0, job.output
    kept = approval(platform)
    assert (kept["approver"], kept["reason"]) == ("ann", "reviewed in CI")
    assert kept["how"] == "said when it was started"
    refused = platform.slipway(*words, "--approved-by", "ann")
    assert refused.end() == 2, refused.output


def test_ci_that_says_nothing_tells_that_it_waits_and_a_job_that_ends_cancels_it(platform: Platform) -> None:
    job = platform.slipway("ci", "promote", "tiny-llama", "-e", GUARDED, "--timeout", "20s")
    job.wait_for("waits for an approval: resume it in Prefect: http")
    assert job.end() == 1, job.output
    assert platform.world.entries() == []


def test_a_teardown_waits_too(platform: Platform) -> None:
    run = start(platform, "teardown")
    waits(platform, run)
    assert "- cluster slipway-guarded" in platform.artifact(run, "approval")
    assert platform.world.entries() == []
    assert answer(platform, run, **ANN) == "ACCEPT"
    assert platform.ended(run) == "COMPLETED"
    assert "approved by ann, in Prefect" in platform.message(run)


def test_a_command_with_nobody_to_ask_is_refused_before_the_cluster(platform: Platform) -> None:
    command = platform.slipway("promote", "tiny-llama", "-e", GUARDED, "--yes")
    assert command.end() == 2, command.output
    assert "error: guarded is protected, and there is nobody here to ask" in command.output
    assert platform.world.entries() == []
    command = platform.slipway("promote", "tiny-llama", "-e", GUARDED, "--approve", "the pager is mine")
    assert command.end() == 0, command.output
    assert re.fullmatch(r"\S+@\S+", approval(platform)["approver"])
    assert approval(platform)["reason"] == "the pager is mine"


@pytest.mark.parametrize(("typed", "code", "serves"), [("y\n", 0, PROVEN), ("n\n", 130, PUT_BACK)])
def test_at_the_terminal_the_plan_is_shown_and_yes_or_no_is_asked(
    platform: Platform, typed: str, code: int, serves: Serving
) -> None:
    (platform.world.folder / "plan").write_text("aws_eks_cluster.this\n")
    screen = Screen()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.standin.cli", "promote", "tiny-llama", "-e", GUARDED, "--yes"],
        cwd=platform.folder / "project",
        env={**platform.variables, VARIABLE: str(platform.world.folder), **TERMINAL},
        stdin=screen.theirs, stdout=screen.theirs, stderr=screen.theirs, start_new_session=True,
    )  # fmt: skip
    try:
        screen.until("promote llama into guarded? [y/N]", 60)
        assert "aws_eks_cluster.this" in screen.text
        assert platform.world.entries() == []
        screen.type(typed)
        assert process.wait(90) == code, screen.text
    finally:
        process.kill()
        process.wait()
        screen.hang_up()
    assert platform.world.read() == serves
    assert (platform.world.folder / "approval.json").exists() is (code == 0)


def test_a_suspended_run_is_no_silent_one(platform: Platform) -> None:
    """It has no heartbeat, and no process."""
    run = start(platform)
    waits(platform, run)
    assert not [entry for entry in platform.world.entries() if runs(entry.pid)]
    time.sleep(40)
    assert platform.state_name(run) == "Suspended"
    platform.cancel(run)
    assert platform.ended(run) == "CANCELLED"

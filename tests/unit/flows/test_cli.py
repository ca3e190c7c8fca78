"""The command line around the flows, which stand in here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

import flows.cli
import flows.run.timeline
from flows.cli import Command, main
from flows.run.approval import approved
from flows.run.outcomes import OUTCOMES
from flows.run.proposal import Proposal
from tasks.records.errors import Interrupted, RolloutFailed, UnknownName
from tasks.records.progress import Saying
from tasks.releases.records import Approval
from tests.support.builders import ROOT, an_environment
from tests.support.stage import DEPLOYED

Run = Callable[..., Result]


class Flow:
    """What `load` gives: the real flow's signature, and a result of our own."""

    def __init__(self, name: str, result: Any) -> None:
        real = getattr(importlib.import_module(f"flows.{name}"), name)
        self.fn = getattr(real, "fn", real)
        self.result = result
        self.said, self.detail = "", ""
        self.given: list[dict[str, Any]] = []

    def __call__(self, *, return_state: bool = False, **given: Any) -> Any:
        self.given.append(given)
        for line, saying in ((self.said, Saying()), (self.detail, Saying(detail=True))):
            if line:
                logging.getLogger("slipway").info(line, extra={"slipway": saying})
        if return_state:
            return self._state()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def _state(self) -> State[Any]:
        failed = isinstance(self.result, BaseException)
        state: State[Any] = Failed(data=self.result) if failed else Completed(data=self.result)
        state.state_details.flow_run_id = RUN_ID
        return state


RUN_ID = UUID(int=1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`slipway ...` with these flows instead of the real ones."""
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    monkeypatch.setattr(flows.run.timeline, "lines_of", lambda run_id, whole: ["roll out  +1.0 s"])

    def slipway(*words: str, typed: str | None = None, **stand_ins: Flow) -> Result:
        monkeypatch.setattr(flows.cli, "load", lambda name: stand_ins[name])
        return CliRunner().invoke(main, words, input=typed)

    return slipway


def test_a_flow_gets_what_was_typed_and_its_result_is_told(run: Run) -> None:
    flow = Flow("rollback", "0123456789ab")
    done = run("rollback", "tiny-llama", "-e", "staging", "--release", "0123456789ab", rollback=flow)
    assert (done.exit_code, done.output) == (
        0,
        "tiny-llama in staging: 0123456789ab serves\n  next: slipway status -e staging\n",
    )
    assert flow.given == [
        {
            "model": "tiny-llama",
            "environment": "staging",
            "release": "0123456789ab",
            "unfinished": False,
            "measure_from": "cluster",
        }
    ]


def test_what_may_be_given_several_times_is_a_list_to_the_flow(run: Run) -> None:
    flow = Flow("deploy", DEPLOYED)
    run("deploy", "tiny-llama", "-e", "staging", "--may-destroy", "a", "--may-destroy", "b", deploy=flow)
    assert flow.given[0]["may_destroy"] == ["a", "b"]


def test_a_command_has_dashes_where_its_flow_has_underscores(run: Run) -> None:
    flow = Flow("scale_down", Interrupted("stop"))
    assert run("scale-down", "tiny-llama", "-e", "staging", scale_down=flow).exit_code != 2
    assert len(flow.given) == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [(("nope", "-e", "staging"), "no model"), (("tiny-llama", "-e", "nope"), "no environment")],
)
def test_a_name_nobody_has_is_told_before_the_flow_starts(run: Run, words: list[str], error: str) -> None:
    done = run("wake", *words)  # not even imported
    assert done.exit_code == UnknownName.exit_code
    assert f"error: there is {error}" in done.stderr
    assert "  next: " in done.stderr


def test_a_name_in_an_unusual_place_is_looked_up_too(run: Run) -> None:
    flow = Flow("rollback", "0123")
    done = run("rollback", "--release", "0123", "nope", "--environment=staging", rollback=flow)
    assert "error: there is no model 'nope'" in done.stderr
    assert flow.given == []


@pytest.mark.parametrize(
    ("command", "words", "names"),
    [
        ("deploy", ["m", "-e", "x"], {"model": "m", "environment": "x"}),
        ("deploy", ["m", "--revision", "-e", "--environment", "x"], {"model": "m", "environment": "x"}),
        ("deploy", ["--revision", "v2", "m", "-e", "x"], {"environment": "x"}),
        ("deploy", ["--help"], {}),
        ("deploy", [], {}),
        ("drift", ["-e", "x"], {"environment": "x"}),
        ("drift", ["m"], {}),
    ],
)
def test_names_are_seen_where_they_usually_stand(
    command: str, words: list[str], names: dict[str, str]
) -> None:
    assert Command(command).names_in(words) == names


def test_an_environments_variables_are_asked_for_before_the_flow_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    flow = Flow("drift", [])
    done = run("drift", "-e", "sandbox", drift=flow)
    assert done.exit_code != 0
    assert "AWS_ENDPOINT_URL is not set" in done.stderr
    assert flow.given == []


def test_a_failure_is_told_as_cause_evidence_and_next_command(run: Run) -> None:
    error = RolloutFailed("no pod is ready", evidence=["OOMKilled"], next_command="kubectl get pods")
    done = run("wake", "tiny-llama", "-e", "staging", wake=Flow("wake", error))
    assert done.exit_code == RolloutFailed.exit_code
    assert done.stderr == "error: no pod is ready\n  | OOMKilled\n  next: kubectl get pods\n"
    assert done.stdout == ""


@pytest.mark.parametrize(("more", "shown"), [([], ["said"]), (["-v"], ["said", "a detail"])])
def test_details_are_printed_where_they_are_asked_for(run: Run, more: list[str], shown: list[str]) -> None:
    flow = Flow("wake", "hi")
    flow.said, flow.detail = "said", "a detail"
    done = run("wake", "tiny-llama", "-e", "staging", *more, wake=flow)
    assert [line.partition("  ")[2] for line in done.output.splitlines()[: len(shown)]] == shown
    assert ("a detail" in done.output) is bool(more)


@pytest.mark.parametrize("flow", ["deploy", "promote"])
def test_the_timeline_comes_before_the_verdict(run: Run, flow: str) -> None:
    more = ["--yes"] if flow == "promote" else []
    done = run(flow, "tiny-llama", "-e", "staging", *more, **{flow: Flow(flow, DEPLOYED)})
    assert done.output.splitlines()[0] == "  roll out  +1.0 s"
    assert done.output.splitlines()[-2:] == [
        f"tiny-llama in staging: release {DEPLOYED.record.release.id} is proven",
        "  next: slipway endpoint tiny-llama -e staging",
    ]


def test_the_timeline_is_told_of_a_deploy_that_failed_too(run: Run) -> None:
    done = run("deploy", "tiny-llama", "-e", "staging", deploy=Flow("deploy", RolloutFailed("no GPU")))
    assert done.exit_code == RolloutFailed.exit_code
    assert done.stdout == "  roll out  +1.0 s\n"
    assert "error: no GPU" in done.stderr


def test_a_deploy_that_failed_before_its_first_task_has_no_timeline(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.timeline, "lines_of", lambda run_id, whole: [])
    done = run("deploy", "tiny-llama", "-e", "staging", deploy=Flow("deploy", RolloutFailed("no")))
    assert (done.stdout, done.stderr) == ("", "error: no\n")


@pytest.mark.parametrize(("typed", "started"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_a_promotion_is_asked_about(run: Run, typed: str, started: int) -> None:
    flow = Flow("promote", DEPLOYED)
    done = run("promote", "tiny-llama", "-e", "staging", "--from", "sandbox", promote=flow, typed=typed)
    assert "promote tiny-llama into staging?" in done.output
    assert len(flow.given) == started
    assert done.exit_code == (0 if started else Interrupted.exit_code)


def test_a_promotion_said_yes_to_is_not_asked_about(run: Run) -> None:
    flow = Flow("promote", DEPLOYED)
    done = run("promote", "tiny-llama", "-e", "production", "--yes", "--from", "staging", promote=flow)
    assert "?" not in done.output
    assert flow.given == [
        {
            "model": "tiny-llama",
            "environment": "production",
            "source": "staging",
            "measure_from": "cluster",
            "reason": "",
        }
    ]


def test_an_approval_on_the_command_line_names_who_gave_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.cli, "who", lambda: "ann@desk")
    flow = Flow("promote", DEPLOYED)
    done = run("promote", "tiny-llama", "-e", "production", "--approve", "it is Friday", promote=flow)
    assert done.exit_code == 0, done.output
    assert "?" not in done.output
    assert (flow.given[0]["approved_by"], flow.given[0]["reason"]) == ("ann@desk", "it is Friday")


@pytest.mark.parametrize(("typed", "approver"), [("y\n", "ann@desk"), ("n\n", None)])
def test_a_protected_environment_is_asked_about_by_the_run_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, approver: str | None
) -> None:
    """Which has the plan: no question comes before it."""
    monkeypatch.setattr(flows.cli, "on_a_terminal", lambda: True)
    monkeypatch.setattr(flows.cli, "who", lambda: "ann@desk")
    monkeypatch.setattr("tasks.preflight.task.first_cost", lambda environment: None)
    given: list[Approval] = []

    class Asks(Flow):
        def _state(self) -> State[Any]:
            proposal = Proposal("promote tiny-llama into production", "## the page", "key")
            given.append(approved(lambda: proposal, an_environment(), "", ""))
            return super()._state()

    done = run("promote", "tiny-llama", "-e", "production", promote=Asks("promote", DEPLOYED), typed=typed)
    assert "the page" in done.output
    assert done.output.count("promote tiny-llama into production? [y/N]") == 1
    assert [one.approver for one in given] == ([approver] if approver else [])
    assert done.exit_code == (0 if approver else Interrupted.exit_code)


@pytest.mark.parametrize(("typed", "started"), [("y\n", 1), ("n\n", 0)])
def test_on_a_terminal_a_first_deploy_is_asked_about_by_its_price(
    run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, started: int
) -> None:
    monkeypatch.setattr(flows.cli, "on_a_terminal", lambda: True)
    monkeypatch.setattr("tasks.preflight.task.first_cost", lambda environment: "1.54 USD an hour")
    flow = Flow("deploy", DEPLOYED)
    done = run("deploy", "tiny-llama", "-e", "staging", deploy=flow, typed=typed)
    assert "staging has no cluster yet. It will cost 1.54 USD an hour" in done.output
    assert len(flow.given) == started


@pytest.mark.parametrize(
    ("terminal", "more", "cost"), [(False, [], "1"), (True, ["--yes"], "1"), (True, [], None)]
)
def test_a_machine_a_yes_and_a_cluster_that_is_there_are_not_asked_about(
    run: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool, more: list[str], cost: str | None
) -> None:
    monkeypatch.setattr(flows.cli, "on_a_terminal", lambda: terminal)
    monkeypatch.setattr("tasks.preflight.task.first_cost", lambda environment: cost)
    flow = Flow("deploy", DEPLOYED)
    done = run("deploy", "tiny-llama", "-e", "staging", *more, deploy=flow)
    assert "?" not in done.output
    assert len(flow.given) == 1


def test_drift_tells_ci_with_its_exit_code(run: Run) -> None:
    change = {"stack": "cluster", "action": "update", "resource": "x"}
    assert run("drift", "-e", "staging", drift=Flow("drift", [change])).exit_code == 5
    assert run("drift", "-e", "staging", drift=Flow("drift", [])).exit_code == 0


def test_rendered_manifests_alone_are_on_stdout(run: Run) -> None:
    documents = [{"apiVersion": "v1", "kind": "Namespace"}]
    flow = Flow("render", documents)
    flow.said = "pinned"
    done = run("render", "tiny-llama", "-e", "staging", render=flow)
    assert done.stdout == "---\napiVersion: v1\nkind: Namespace\n"
    assert done.stderr.endswith("  pinned\n")


@pytest.mark.parametrize("flow", OUTCOMES)
def test_every_command_says_in_a_line_what_it_does(flow: str) -> None:
    first = str(Command(flow).help).splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 62


@pytest.mark.parametrize(
    "words", [("preflight", "tiny-llama"), ("render", "tiny-llama"), ("endpoint", "tiny-llama")]
)
def test_what_is_no_flow_is_called_as_a_function(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They touch nothing, so they need no run of Prefect."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(flows.cli, "load", lambda flow: lambda **given: asked.update(given) or flow)
    assert flows.cli.run(words[0], {"model": words[1], "environment": "sandbox"}) == words[0]
    assert asked == {"model": "tiny-llama", "environment": "sandbox"}

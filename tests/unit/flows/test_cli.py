"""The command line around the flows, which stand in here."""

from __future__ import annotations

import importlib
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
from flows.run.outcomes import OUTCOMES
from tasks.records.errors import Interrupted, RolloutFailed, UnknownName
from tests.support.builders import ROOT
from tests.support.stage import RECORD

Run = Callable[..., Result]


class Flow:
    """What `load` gives: the real flow's signature, and a result of our own."""

    def __init__(self, name: str, result: Any) -> None:
        real = getattr(importlib.import_module(f"flows.{name}"), name)
        self.fn = getattr(real, "fn", real)
        self.result = result
        self.given: list[dict[str, Any]] = []

    def __call__(self, *, return_state: bool = False, **given: Any) -> Any:
        self.given.append(given)
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
    monkeypatch.setattr(flows.cli, "show_progress", lambda stream: None)
    monkeypatch.setattr(flows.run.timeline, "lines_of", lambda run_id: ["roll out  +1.0 s"])

    def slipway(*words: str, typed: str | None = None, **stand_ins: Flow) -> Result:
        monkeypatch.setattr(flows.cli, "load", lambda name: stand_ins[name])
        return CliRunner().invoke(main, words, input=typed)

    return slipway


def test_a_flow_gets_what_was_typed_and_its_result_is_told(run: Run) -> None:
    flow = Flow("rollback", "0123456789ab")
    done = run("rollback", "tiny-llama", "-e", "staging", "--release", "0123456789ab", rollback=flow)
    assert (done.exit_code, done.output) == (0, "tiny-llama in staging: 0123456789ab serves\n")
    assert flow.given == [
        {"model": "tiny-llama", "environment": "staging", "release": "0123456789ab", "unfinished": False}
    ]


def test_what_may_be_given_several_times_is_a_list_to_the_flow(run: Run) -> None:
    flow = Flow("deploy", RECORD)
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


@pytest.mark.parametrize("flow", ["deploy", "promote"])
def test_the_timeline_comes_before_the_verdict(run: Run, flow: str) -> None:
    more = ["--yes"] if flow == "promote" else []
    done = run(flow, "tiny-llama", "-e", "staging", *more, **{flow: Flow(flow, RECORD)})
    assert done.output.splitlines()[0] == "  roll out  +1.0 s"
    assert done.output.splitlines()[-1].endswith("is proven")


def test_the_timeline_is_told_of_a_deploy_that_failed_too(run: Run) -> None:
    done = run("deploy", "tiny-llama", "-e", "staging", deploy=Flow("deploy", RolloutFailed("no GPU")))
    assert done.exit_code == RolloutFailed.exit_code
    assert done.stdout == "  roll out  +1.0 s\n"
    assert "error: no GPU" in done.stderr


def test_a_deploy_that_failed_before_its_first_task_has_no_timeline(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.timeline, "lines_of", lambda run_id: [])
    done = run("deploy", "tiny-llama", "-e", "staging", deploy=Flow("deploy", RolloutFailed("no")))
    assert (done.stdout, done.stderr) == ("", "error: no\n")


@pytest.mark.parametrize(("typed", "started"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_a_promotion_is_asked_about(run: Run, typed: str, started: int) -> None:
    flow = Flow("promote", RECORD)
    done = run("promote", "tiny-llama", "-e", "production", promote=flow, typed=typed)
    assert "promote tiny-llama into production?" in done.output
    assert len(flow.given) == started
    assert done.exit_code == (0 if started else Interrupted.exit_code)


def test_a_promotion_said_yes_to_is_not_asked_about(run: Run) -> None:
    flow = Flow("promote", RECORD)
    done = run("promote", "tiny-llama", "-e", "production", "--yes", "--from", "staging", promote=flow)
    assert "?" not in done.output
    assert flow.given == [{"model": "tiny-llama", "environment": "production", "source": "staging"}]


def test_drift_tells_ci_with_its_exit_code(run: Run) -> None:
    change = {"stack": "cluster", "action": "update", "resource": "x"}
    assert run("drift", "-e", "staging", drift=Flow("drift", [change])).exit_code == 5
    assert run("drift", "-e", "staging", drift=Flow("drift", [])).exit_code == 0


def test_rendered_manifests_alone_are_on_stdout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    progress: list[Any] = []
    monkeypatch.setattr(flows.cli, "show_progress", progress.append)
    documents = [{"apiVersion": "v1", "kind": "Namespace"}]
    done = run("render", "tiny-llama", "-e", "staging", render=Flow("render", documents))
    assert done.stdout == "---\napiVersion: v1\nkind: Namespace\n"
    assert [stream.name for stream in progress] == ["<stderr>"]


@pytest.mark.parametrize("flow", OUTCOMES)
def test_every_command_says_in_a_line_what_it_does(flow: str) -> None:
    first = str(Command(flow).help).splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 62

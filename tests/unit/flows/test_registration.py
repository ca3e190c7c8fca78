"""automations.yaml as Prefect takes it, and what an apply removes."""

from __future__ import annotations

import fnmatch
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from click.testing import CliRunner
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import Automation, EventTrigger, Posture

from flows.cli import main
from flows.deployments import HEARTBEAT_SECONDS, STARTABLE
from flows.registration import (
    AUTOMATIONS,
    automations,
    check_type,
    chosen_environments,
    flow_of,
    home_of,
    is_outdated,
    outdated,
    payload_of,
    rendered,
)
from flows.run.runbook import ENDED
from tasks.records.errors import InputError, InvalidDocument
from tasks.records.work_pool import RunPod, WorkPool
from tests.support.builders import ROOT

DECLARED: list[dict[str, Any]] = yaml.safe_load((ROOT / "automations.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = rendered(ROOT)["deployments"]
BLOCK = UUID(int=7)


def test_a_run_without_heartbeats_is_crashed_after_three_of_them() -> None:
    [silent, *_], left_out = automations(DECLARED, BLOCK)
    assert not left_out
    trigger, [action] = silent.trigger, silent.actions
    assert isinstance(trigger, EventTrigger)
    assert isinstance(action, ChangeFlowRunState)
    assert trigger.posture == Posture.Proactive
    assert trigger.within.total_seconds() == 3 * HEARTBEAT_SECONDS
    assert action.state.value == "CRASHED"


def test_every_flow_is_watched_by_every_automation_and_no_other_teams() -> None:
    for automation in automations(DECLARED, BLOCK)[0]:
        assert isinstance(automation.trigger, EventTrigger)
        [spec] = _as_list(automation.trigger.match_related)
        pattern = spec.root["prefect.resource.name"]
        matched = {
            flow_of(one).name for one in DEPLOYMENTS if fnmatch.fnmatchcase(flow_of(one).name, pattern)
        }
        late = "late" in automation.name
        assert matched == ({"slipway-recover"} if late else {flow_of(one).name for one in DEPLOYMENTS})
        assert not fnmatch.fnmatchcase("deploy", pattern)


def _as_list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def test_no_two_triggers_wait_for_the_same_event_of_a_run_s_end() -> None:
    """One that has `after` reads before it writes; SQLite refuses that, and the others of its event with it."""
    [silent, never_began, *_], _ = automations(DECLARED, BLOCK)
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Crashed", "Cancelled")}
    for one in (silent, never_began):
        assert isinstance(one.trigger, EventTrigger)
        assert ENDED in one.trigger.expect
        assert not one.trigger.expect & ends


def test_the_report_calls_the_webhook_that_was_made() -> None:
    [*_, report], _ = automations(DECLARED, BLOCK)
    [action] = report.actions
    assert isinstance(action, CallWebhook)
    assert action.block_document_id == BLOCK


def test_without_a_webhook_the_report_is_left_out_and_named() -> None:
    made, left_out = automations(DECLARED, None)
    assert [one.name for one in made] == [
        "slipway-crash-a-silent-run",
        "slipway-crash-a-run-that-never-began",
        "slipway-cancel-late-looks",
    ]
    assert left_out == ["slipway-report"]


@pytest.mark.parametrize(
    ("name", "tags", "removed"),
    [
        ("old", [AUTOMATIONS], True),
        ("slipway-report", [AUTOMATIONS], False),
        ("old", [], False),
        ("old", ["slipway"], False),
    ],
)
def test_only_what_an_apply_made_and_no_file_names_is_removed(
    name: str, tags: list[str], removed: bool
) -> None:
    wanted = automations(DECLARED, BLOCK)[0]
    there = Automation.model_validate(
        {**wanted[0].model_dump(), "id": UUID(int=1), "name": name, "tags": tags}
    )
    assert (outdated([there], {one.name for one in wanted}) == [there]) is removed


@pytest.mark.parametrize(
    ("tags", "goes"),
    [
        ([], False),
        (["environment:staging"], False),
        (["slipway"], True),
        (["slipway", "environment:staging"], True),
        (["slipway", "environment:production"], False),
        (["slipway", "environment:gone"], True),
    ],
)
def test_a_deployment_goes_where_it_is_ours_and_its_environment_is_not_left_out(
    tags: list[str], goes: bool
) -> None:
    assert is_outdated(tags, {"staging"}, ["production", "staging"]) is goes


def test_an_environment_that_needs_variables_is_registered_by_name_only() -> None:
    assert [one.name for one in chosen_environments(ROOT, ())] == ["production", "staging"]
    assert [one.name for one in chosen_environments(ROOT, ["sandbox"])] == ["sandbox"]


def _payload(flow: str, environment: str, models: list[str]) -> dict[str, Any]:
    [entry] = [
        one for one in DEPLOYMENTS if flow_of(one).name == f"slipway-{flow}" and one["name"] == environment
    ]
    return payload_of(entry, [], flow_of(entry), models, ["production", "staging"])


def test_a_form_lists_the_models_and_has_no_environment() -> None:
    schema = _payload("deploy", "staging", ["a", "b"])["parameter_openapi_schema"]
    assert schema["properties"]["model"]["enum"] == ["a", "b"]
    assert schema["properties"]["model"]["title"] == "Model"
    assert "environment" not in schema["properties"]
    assert schema["required"] == ["model"]


def test_every_field_of_every_form_has_a_title_and_help() -> None:
    for one in DEPLOYMENTS:
        fields = payload_of(one, [], flow_of(one), [], [])["parameter_openapi_schema"]["properties"]
        for name, field in fields.items():
            assert field["title"][0].isupper(), (one, name)
            assert field.get("description"), (one["entrypoint"], name)


def test_the_version_changes_with_the_models_and_only_with_what_is_registered() -> None:
    version = _payload("deploy", "staging", ["a"])["version"]
    assert _payload("deploy", "staging", ["a"])["version"] == version
    assert _payload("deploy", "staging", ["a", "b"])["version"] != version


def test_every_startable_flow_has_a_name_of_ours_and_is_in_some_environment() -> None:
    registered = {one["entrypoint"]: flow_of(one).name for one in DEPLOYMENTS}
    for startable in STARTABLE:
        name = registered[f"flows/{startable.flow}.py:{startable.flow}"]
        assert name == f"slipway-{startable.flow.replace('_', '-')}"


@pytest.mark.parametrize(
    ("wanted", "there", "refused"),
    [
        ("kubernetes", "process", True),
        ("kubernetes", "kubernetes", False),
        ("process", "process", False),
        ("process", "ecs", False),
    ],
)
def test_a_pool_of_another_type_is_refused_where_jobs_are_wanted(
    wanted: str, there: str, refused: bool
) -> None:
    refuses = pytest.raises(InputError, match="asks for kubernetes") if refused else nullcontext()
    with refuses:
        check_type("slipway-staging", wanted, there)


def test_runs_in_an_image_find_the_project_where_the_image_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    pod = RunPod(image=f"registry.example.com/slipway@sha256:{'0' * 64}")
    assert (
        f"WORKDIR {home_of(WorkPool(type='kubernetes', pod=pod), ROOT)}\n"
        in (ROOT / "Dockerfile").read_text()
    )
    assert home_of(WorkPool(), ROOT) == str(ROOT)


@pytest.mark.parametrize(
    ("text", "cause", "evidence"),
    [
        (
            None,
            "has no automations.yaml, which comes with Slipway's repository",
            "it has: environments, models",
        ),
        ("- name: [", "automations.yaml:1: not YAML", ""),
        ("name: one\n", "automations.yaml: not a list of automations", ""),
    ],
)
def test_a_project_without_automations_as_prefect_takes_them_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, cause: str, evidence: str
) -> None:
    for folder in ("models", "environments"):
        (tmp_path / folder).mkdir()
    if text:
        (tmp_path / "automations.yaml").write_text(text)
        shutil.copytree(ROOT / "k8s" / "prefect", tmp_path / "k8s" / "prefect")
    # what is wrong is said before the server is asked
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    monkeypatch.setattr("flows.registration.get_client", pytest.fail)
    done = CliRunner().invoke(main, ["prefect", "apply"])
    assert done.exit_code == 2, done.output
    assert cause in done.output
    assert f"  | {evidence}" in done.output or not evidence
    assert "  next: " in done.output


def test_an_automation_that_prefect_does_not_take_is_named_with_what_is_wrong() -> None:
    wrong = {"name": "one", "trigger": {"type": "hourly"}, "actions": []}
    with pytest.raises(InvalidDocument, match=r"automations\.yaml: Prefect does not take one") as raised:
        automations([wrong], None)
    assert any("trigger" in line for line in raised.value.evidence)

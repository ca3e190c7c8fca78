"""`slipway prefect apply` into a real Prefect server: what is there then, and what a second call changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from flows.deployments import STARTABLE
from tasks.holding.waking import flow_runs
from tasks.records.errors import PrefectUnavailable
from tests.support.platform import Platform, eventually

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, list[str]]]:
    """A server with the deployments of `sandbox`, and no worker; what the first apply said."""
    platform = Platform(tmp_path_factory.mktemp("registered"))
    platform.world.make()
    platform.lay_out()
    platform.start_server()
    try:
        yield platform, apply(platform)
    finally:
        platform.end()


@pytest.fixture(scope="module")
def server(applied: tuple[Platform, list[str]]) -> Platform:
    return applied[0]


def apply(platform: Platform) -> list[str]:
    command = platform.slipway("prefect", "apply", "-e", "sandbox")
    assert command.end() == 0, command.output
    return command.output.splitlines()


def deployments(platform: Platform) -> dict[str, dict[str, Any]]:
    """By FLOW/NAME."""
    flows = {one["id"]: one["name"] for one in platform.call("POST", "/flows/filter", {})}
    found = platform.call("POST", "/deployments/filter", {})
    return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}


def start(platform: Platform, **parameters: str) -> httpx.Response:
    of = deployments(platform)["slipway-deploy/sandbox"]["id"]
    body = {"parameters": parameters}
    return httpx.post(f"{platform.url}/deployments/{of}/create_flow_run", json=body, timeout=30)


def test_an_environment_has_a_deployment_of_each_flow_in_a_pool_of_its_own(server: Platform) -> None:
    found = deployments(server)
    assert {"slipway-deploy/sandbox", "slipway-rollback/sandbox", "slipway-drift/sandbox"} <= {*found}
    assert {one["work_pool_name"] for one in found.values()} == {"slipway-sandbox"}
    assert all({"slipway", "environment:sandbox"} <= {*one["tags"]} for one in found.values())


def test_schedules_are_active_and_make_up_for_one_run(server: Platform) -> None:
    drift = deployments(server)["slipway-drift/sandbox"]
    assert [one["active"] for one in drift["schedules"]] == [True]
    assert drift["global_concurrency_limit"]["limit"] == 1
    assert drift["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_drills_are_scheduled_and_the_apply_says_so(applied: tuple[Platform, list[str]]) -> None:
    server, said = applied
    [schedule] = deployments(server)["slipway-drill/sandbox"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "0 3 * * sun")
    at = said.index("deployment slipway-drill/sandbox: made")
    assert said[at + 1].startswith("  schedule drill: 0 3 * * sun")
    assert said[at + 1].endswith(", active")


def test_an_active_schedule_makes_runs(server: Platform) -> None:
    """Not on SQLAlchemy 2.1, which refuses the insert of Prefect 3.8's scheduler."""
    recover = server.deployment("recover")

    def planned() -> list[dict[str, Any]]:
        asked = {"deployments": {"id": {"any_": [recover]}}}
        runs: list[dict[str, Any]] = server.call("POST", "/flow_runs/filter", asked)
        return [one for one in runs if one["auto_scheduled"]]

    eventually(planned, "the scheduler plans runs of recover")


def test_a_model_nobody_has_is_refused_before_a_run_exists(server: Platform) -> None:
    assert start(server, model="nope").status_code == httpx.codes.CONFLICT
    made = start(server, model="tiny-llama")
    assert made.is_success
    assert made.json()["parameters"] == {"model": "tiny-llama", "environment": "sandbox"}


def test_the_holders_wake_is_one_run_however_often_it_asks(server: Platform) -> None:
    ask = flow_runs(server.url, "sandbox", None)
    assert {ask("tiny-llama", key) for key in ("3 1", "3 1", "7 1")} == {"SCHEDULED"}
    runs = server.call(
        "POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [server.deployment("wake")]}}}
    )
    asked = [one for one in runs if not one["auto_scheduled"]]
    assert len(asked) == 2
    assert {(one["parameters"]["model"], one["state_type"]) for one in asked} == {("tiny-llama", "SCHEDULED")}
    with pytest.raises(PrefectUnavailable):
        flow_runs(server.url, "nowhere", None)("tiny-llama", "3 1")


def test_a_second_apply_changes_nothing(server: Platform) -> None:
    before, automations = deployments(server), server.call("POST", "/automations/filter", {})
    assert "deployments: nothing to change" in "\n".join(apply(server))
    assert deployments(server) == before
    assert server.call("POST", "/automations/filter", {}) == automations


def test_what_is_ours_and_nobody_wants_goes_and_anothers_stays(server: Platform) -> None:
    flow = server.call("POST", "/flows/", {"name": "deploy"})["id"]
    for name, tags in (("old", ["slipway"]), ("anothers", ["prod"])):
        server.call("POST", "/deployments/", {"name": name, "flow_id": flow, "tags": tags})
    assert "deployment deploy/old: removed" in apply(server)
    found = deployments(server)
    assert "deploy/anothers" in found
    assert "deploy/old" not in found
    assert "slipway-deploy/sandbox" in found


def test_a_time_that_no_model_names_any_more_leaves_the_schedules(server: Platform) -> None:
    file = server.folder / "project" / "models" / "tiny-llama.yaml"
    before = file.read_text()
    document = yaml.safe_load(before)
    planned = []
    try:
        for cron in ("30 7 * * mon-fri", "45 6 * * *"):
            document["scaling"]["wake"] = {"cron": cron, "timezone": "Europe/Berlin"}
            file.write_text(yaml.safe_dump(document))
            apply(server)
            schedules = deployments(server)["slipway-wake-due/sandbox"]["schedules"]
            planned.append([one["schedule"]["cron"] for one in schedules])
    finally:
        file.write_text(before)
    assert planned == [["30 7 * * mon-fri"], ["45 6 * * *"]]


def test_prefect_deploy_all_registers_the_rendered_file(server: Platform) -> None:
    project = server.folder / "project"
    rendered = server.slipway("prefect", "render", "-e", "sandbox")
    assert rendered.end() == 0, rendered.output
    (project / "prefect.yaml").write_text(rendered.output)
    for one in STARTABLE:
        (project / "flows" / f"{one.flow}.py").write_text(f"from flows.{one.flow} import {one.flow}\n")
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=project,
        env={**os.environ, **server.variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployments(server)["slipway-drift/sandbox"]["schedules"][0]["active"]

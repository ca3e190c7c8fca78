"""prefect.yaml against the catalogue it is rendered from and the flows it names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import yaml
from prefect.events import DeploymentEventTrigger

from flows.deployments import as_yaml, render
from flows.registration import flow_of, rendered
from flows.run.tags import tags_of
from tasks.records.model import Model
from tests.support.builders import ROOT, a_model, an_environment

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def test_the_file_is_what_the_catalogue_renders() -> None:
    assert (ROOT / "prefect.yaml").read_text() == as_yaml(rendered(ROOT)), (
        "slipway prefect render > prefect.yaml"
    )


@pytest.mark.parametrize(
    "deployment", DEPLOYMENTS, ids=[f"{one['entrypoint'].split(':')[1]}-{one['name']}" for one in DEPLOYMENTS]
)
def test_what_a_deployment_its_schedules_and_triggers_give_the_flow_takes(deployment: dict[str, Any]) -> None:
    taken = inspect.signature(flow_of(deployment).fn).parameters
    given = {*deployment["parameters"]}
    for trigger in deployment.get("triggers", ()):
        given |= {*(DeploymentEventTrigger.model_validate(trigger).parameters or {})}
    for schedule in deployment.get("schedules", ()):
        given |= {*schedule.get("parameters", {})}
    assert given <= {*taken}


def test_names_are_unique_within_a_flow() -> None:
    named = [(one["entrypoint"], one["name"]) for one in DEPLOYMENTS]
    assert len(named) == len({*named})


@pytest.mark.parametrize(("promote_from", "comes_in"), [(None, "deploy"), ("staging", "promote")])
def test_an_environment_has_the_one_flow_by_which_a_model_may_come_in(
    promote_from: str | None, comes_in: str
) -> None:
    document = render([an_environment(promote_from=promote_from)], [])
    entrypoints = {one["entrypoint"] for one in document["deployments"]}
    assert entrypoints & {"flows/deploy.py:deploy", "flows/promote.py:promote"} == {
        f"flows/{comes_in}.py:{comes_in}"
    }


@pytest.mark.parametrize(
    ("given", "cron"),
    [
        ({}, "0 3 * * sun"),
        ({"drills": {"cron": "0 4 1 * *"}}, "0 4 1 * *"),
        ({"drills": {"cron": None}}, None),
        ({"protected": True}, None),
        ({"protected": True, "drills": {"in_protected": True}}, "0 3 * * sun"),
    ],
)
def test_drills_are_scheduled_where_they_may_run(given: dict[str, Any], cron: str | None) -> None:
    found = render([an_environment(**given)], [])["deployments"]
    [drill] = [one for one in found if one["entrypoint"] == "flows/drill.py:drill"]
    assert [one["cron"] for one in drill.get("schedules", [])] == ([cron] if cron else [])


def test_a_stopped_rollout_is_undone_by_its_tags_and_only_where_it_is_unfinished() -> None:
    [rollback] = [one for one in DEPLOYMENTS if "rollback" in one["entrypoint"] and one["name"] == "staging"]
    [trigger] = rollback["triggers"]
    assert trigger["parameters"]["unfinished"] is True
    assert trigger["expect"] == ["prefect.flow-run.Crashed", "prefect.flow-run.Cancelled"]
    asked = {one["prefect.resource.id"].removeprefix("prefect.tag.") for one in trigger["match_related"]}
    assert asked <= {*tags_of("deploy", {"model": "m", "environment": "staging"})}
    assert not asked <= {*tags_of("deploy", {"model": "m", "environment": "production"})}
    assert not asked <= {*tags_of("drift", {"environment": "staging"})}


def test_the_hub_is_watched_where_a_model_is_followed_and_nobody_has_to_approve() -> None:
    watch = {"cron": "*/10 * * * *"}
    places = [
        an_environment(name="a", watch=watch),
        an_environment(name="b", watch=watch, protected=True),
        an_environment(name="c", watch=watch, promote_from="a"),
    ]

    def watched(*models: Model) -> list[tuple[str, list[Any]]]:
        found = render(places, models)["deployments"]
        return [
            (one["name"], one.get("schedules", []))
            for one in found
            if one["entrypoint"] == "flows/watch.py:watch"
        ]

    assert watched(a_model()) == [("a", [])]
    [(name, [schedule])] = watched(a_model(source={"repo": "a/b", "follow": True}))
    assert (name, schedule) == ("a", {"slug": "watch", "active": True, "timezone": "UTC", **watch})


def test_only_what_runs_on_a_schedule_has_a_limit_that_cancels_the_late_ones() -> None:
    for one in DEPLOYMENTS:
        limit = {"limit": 1, "collision_strategy": "CANCEL_NEW"} if "schedules" in one else None
        assert one.get("concurrency_limit") == limit


def test_a_time_to_wake_is_one_schedule_however_many_models_name_it() -> None:
    """100 models in 20 environments were 2,000 schedules."""
    times = [("30 7 * * 1-5", "UTC"), ("30 7 * * 1,5", "UTC"), ("30 7 * * 1-5", "Europe/Berlin")]
    models = [
        a_model(name=f"m-{number}", scaling={"wake": {"cron": cron, "timezone": timezone}})
        for number, (cron, timezone) in enumerate(times * 3)
    ]
    document = render([an_environment()], [*models, a_model(name="sleeper")])
    scheduled = {one["entrypoint"]: one["schedules"] for one in document["deployments"] if "schedules" in one}
    found = scheduled["flows/wake_due.py:wake_due"]
    assert {(one["cron"], one["timezone"]) for one in found} == {*times}
    assert len({one["slug"] for one in found}) == len(found) == 3
    assert not [one for name, one in scheduled.items() if name.startswith("flows/wake.py")]


def test_where_no_model_names_a_time_nothing_is_scheduled_to_wake() -> None:
    document = render([an_environment()], [a_model()])
    [wakes] = [one for one in document["deployments"] if one["entrypoint"] == "flows/wake_due.py:wake_due"]
    assert "schedules" not in wakes

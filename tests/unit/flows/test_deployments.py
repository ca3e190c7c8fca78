"""prefect.yaml against the flows it names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import yaml
from prefect.events import DeploymentEventTrigger
from prefect.utilities.importtools import import_object

from tasks.records.catalogue import project_root

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((project_root() / "prefect.yaml").read_text())[
    "deployments"
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[one["name"] for one in DEPLOYMENTS])
def test_what_a_deployment_or_its_trigger_gives_the_flow_takes(deployment: dict[str, Any]) -> None:
    taken = inspect.signature(
        import_object(deployment["entrypoint"].replace("/", ".").replace(".py:", "."))
    ).parameters
    given = {*deployment["parameters"]}
    for trigger in deployment.get("triggers", ()):
        given |= {*(DeploymentEventTrigger.model_validate(trigger).parameters or {})}
    assert given <= {*taken}


def test_a_killed_rollout_is_undone_by_an_event_and_only_where_it_is_unfinished() -> None:
    [rollback] = [one for one in DEPLOYMENTS if one["name"] == "rollback"]
    [trigger] = rollback["triggers"]
    assert trigger["parameters"]["unfinished"] is True
    assert trigger["expect"] == ["prefect.flow-run.Crashed"]

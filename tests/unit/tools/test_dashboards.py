"""The dashboards' files are what their description says, and say only what Grafana and the product know."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.builders import ROOT
from tools.dashboards.description import DASHBOARDS
from tools.dashboards.grafana import COLUMNS, Dashboard, as_json, document

FOLDER = ROOT / "k8s" / "dashboards"
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)


@each
def test_the_file_is_what_the_description_says(dashboard: Dashboard) -> None:
    written = (FOLDER / f"{dashboard.name}.json").read_text()
    assert written == as_json(dashboard), "python -m tools.dashboards"


def test_there_is_no_file_that_nobody_describes() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {one.name for one in DASHBOARDS}


@each
def test_panels_have_a_place_of_their_own(dashboard: Dashboard) -> None:
    places = [panel["gridPos"] for panel in document(dashboard)["panels"]]
    cells = [(x, place["y"]) for place in places for x in range(place["x"], place["x"] + place["w"])]
    assert len(cells) == len({*cells})
    assert all(x < COLUMNS for x, _ in cells)


@each
def test_a_query_asks_for_no_variable_that_the_dashboard_does_not_have(dashboard: Dashboard) -> None:
    known = {variable.name for variable in dashboard.variables}
    asked = {name for query in _queries(dashboard) for name in re.findall(r"\$(\w+)", query["expr"])}
    assert asked <= known


@each
def test_a_label_of_a_legend_is_one_that_the_query_leaves(dashboard: Dashboard) -> None:
    for query in _queries(dashboard):
        grouped = re.search(r"\bby \(([^)]*)\)", query["expr"])
        labels = set(re.findall(r"{{(\w+)}}", query["legendFormat"]))
        if grouped and labels:
            assert labels <= {label.strip() for label in grouped[1].split(",")}, query


def _queries(dashboard: Dashboard) -> list[dict[str, Any]]:
    written = json.loads(as_json(dashboard))
    return [target for panel in written["panels"] for target in panel["targets"]]

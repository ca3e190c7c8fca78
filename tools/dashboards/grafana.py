"""A description of panels and queries, and the same as Grafana reads it. Pure.

Fields of the JSON as the dashboards of kube-prometheus-stack 88.0.0 have them
(templates/grafana/dashboards-1.14/prometheus.yaml: schemaVersion 39, panels `timeseries` and `stat`, variables `query`).
grafana-foundation-sdk 10.1.0 has all of Grafana as generated classes, some thousand files; these are the forty lines of
it that five dashboards need.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 39
# uid of the chart's own datasource: kube-prometheus-stack 88.0.0, values.yaml, grafana.sidecar.datasources.uid
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, WIDTH, HEIGHT = 24, 8, 7

# https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/#unit: ids of units
Unit = Literal["short", "s", "percentunit", "percent", "mbytes", "watt", "celsius", "reqpm"]
Kind = Literal["timeseries", "stat"]


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` takes labels as {{label}}."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture of some queries. `about`: what it tells, and when it is wrong."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    about: str = ""
    kind: Kind = "timeseries"
    stacked: bool = False


@dataclass(frozen=True)
class Variable:
    """A choice at the dashboard's head: the values that a label of a metric has."""

    name: str
    metric: str
    label: str
    several: bool = True


@dataclass(frozen=True)
class Dashboard:
    """One page. `name`: of its file, and its uid."""

    name: str
    title: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": f"slipway-{dashboard.name}",
        "title": f"Slipway / {dashboard.title}",
        "tags": ["slipway"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_variable(each) for each in dashboard.variables]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def as_json(dashboard: Dashboard) -> str:
    """The file in k8s/dashboards."""
    return json.dumps(document(dashboard), indent=1) + "\n"


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": f"label_values({variable.metric}, {variable.label})",
        "refresh": 2,
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
        **({"allValue": ".+"} if variable.several else {}),
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    across = COLUMNS // WIDTH
    custom = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"fillOpacity": 60, "stacking": {"mode": "normal"}}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": number % across * WIDTH, "y": number // across * HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0}
            | ({"custom": custom} if panel.kind == "timeseries" else {}),
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}} if panel.kind == "timeseries" else {},
        "targets": _targets(panel.queries, instant=panel.kind == "stat"),
    }


def _targets(queries: Sequence[Query], *, instant: bool) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            **({"instant": True} if instant else {"format": "time_series"}),
        }
        for number, query in enumerate(queries)
    ]

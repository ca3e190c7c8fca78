"""The product's flows with stand-ins for every task."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import flows.run.runbook
import flows.run.stages
from tasks.records.stop import STOP
from tests.support.builders import ROOT
from tests.support.stage import RESULTS, Stage, addon_run


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Every task of deploy and promote stands in; all succeed until told otherwise."""
    stage, stages = Stage(monkeypatch), flows.run.stages
    for name, result in RESULTS.items():
        stage.does(stages, name, result)
    stage.does(stages, "install_addon", "installed", label=addon_run)
    monkeypatch.setattr(stages, "manifests", lambda *of: [])
    monkeypatch.setattr(stages, "turn", stage.turn)
    monkeypatch.setattr(stages, "tell_timeline", lambda: stage.turn(None))
    monkeypatch.setattr(flows.run.runbook, "show_markdown", lambda key, text, title: stage.shown.append(text))
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    yield stage
    STOP.clear()

"""Every query of every dashboard returns data over series as the exporters name them, by Debian's prometheus."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.builders import ROOT
from tools.dashboards.evaluate import Evaluation, evaluation

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
FILES = sorted((ROOT / "k8s" / "dashboards").glob("*.json"))


def queries() -> Iterator[Any]:
    for file in FILES:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield pytest.param(target["expr"], id=f"{file.stem}: {panel['title']}: {target['refId']}")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluation]:
    with evaluation(tmp_path_factory.mktemp("dashboards")) as made:
        yield made


@pytest.mark.parametrize("expression", [*queries()])
def test_a_query_returns_data(evaluated: Evaluation, expression: str) -> None:
    found = [value for line in evaluated.lines(expression) for _, value in line.points]
    assert any(math.isfinite(value) for value in found)


@pytest.mark.parametrize("expression", [each for each in queries() if "$namespace" in each.values[0]])
def test_a_query_returns_nothing_of_another_namespace(evaluated: Evaluation, expression: str) -> None:
    assert evaluated.lines(expression, "other") == []

"""Causes of the scaler that the simulated cluster does not show."""

from __future__ import annotations

from tasks.drill.observe import Details, Seen
from tasks.drill.scaler_causes import deaf
from tasks.drill.scene import Scene
from tasks.drill.stages import Known
from tests.support.builders import a_model, an_environment


def test_a_query_of_keda_that_prometheus_refuses_is_told_in_its_words() -> None:
    known = Known(an_environment(), a_model(), frozenset(["first"]), frozenset(["node-1"]))
    said = ("Prometheus refused a query", "sum(", "parse error: unclosed")
    found = deaf(Scene("asked", known, Seen(0, [], [], 1, 9.0), Details({}, {}, unheard=said)))
    assert found
    assert found.cause == "Prometheus has no answer to KEDA's query: parse error: unclosed"

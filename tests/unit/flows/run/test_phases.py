"""What a phase does about the tasks in it when it ends, fails or is stopped; outside a run of Prefect."""

from __future__ import annotations

import pytest
from prefect.exceptions import TerminationSignal

from flows.run.graph import Graph
from flows.run.phases import phase, tasks_of_this_phase
from tasks.records.errors import ClusterError
from tasks.records.stop import STOP
from tests.support.tasks import StandInFuture


def under_way(graph: Graph) -> StandInFuture:
    future = StandInFuture("staging", None, None)
    graph.named.append((future.name, future))
    return future


def test_a_phase_gives_its_result_once_nothing_of_it_runs() -> None:
    begun: list[StandInFuture] = []

    def body(graph: Graph) -> str:
        begun.append(under_way(graph))
        return "proven"

    assert phase("prove", body).result == "proven"
    assert [future.running for future in begun] == [False]


def test_what_fails_it_is_raised_once_nothing_of_it_runs() -> None:
    begun: list[StandInFuture] = []

    def body(graph: Graph) -> None:
        begun.append(under_way(graph))
        raise ClusterError("no node")

    with pytest.raises(ClusterError, match="no node"):
        phase("provision", body)
    assert [future.running for future in begun] == [False]


def test_a_signal_stops_what_runs_in_it() -> None:
    try:
        with pytest.raises(TerminationSignal), tasks_of_this_phase() as graph:
            under_way(graph)
            raise TerminationSignal(signal=15)
        assert STOP.reason == "interrupted"
    finally:
        STOP.clear()

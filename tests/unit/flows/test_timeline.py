from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.timeline import Step, critical_path, lines, overhead_seconds, rows


def steps(text: str) -> list[Step]:
    """ "name began took after+after" a line; no `after`: it was called in turn."""
    made = []
    for line in text.strip().splitlines():
        name, began, took, *after = line.split()
        made.append(Step(name, float(began), float(took), tuple(after[0].split("+")) if after else ()))
    return made


DEPLOY = steps(
    """
    storage 0 2
    stage 2 9 storage
    cluster 2 5 storage
    nodes 7 6 cluster
    addon 13 1 nodes
    warm 13 4 stage+nodes
    roll 17 3 warm+addon
    """
)


@pytest.mark.parametrize(
    ("ran", "path"),
    [
        ([], []),
        (steps("a 0 1"), ["a"]),
        (steps("a 0 1\nb 1 1\nc 2 1"), ["a", "b", "c"]),  # called in turn
        (steps("a 0 1\nb 1 5 a\nc 1 2 a\nd 6 1 b+c"), ["a", "b", "d"]),
        (steps("a 0 9\nb 0 1\nc 9 1 a+b"), ["a", "c"]),
        (steps("a 0 1\nb 5 1"), ["a", "b"]),  # a pause between them
        (steps("a 0 1\nb 1 1 gone"), ["a", "b"]),  # what it waited for is not among the steps
        (steps("a 0 5\nb 1 1"), ["a"]),  # beside it, and over before it
        (DEPLOY, ["storage", "cluster", "nodes", "warm", "roll"]),
    ],
)
def test_the_steps_a_run_had_to_wait_for(ran: list[Step], path: list[str]) -> None:
    assert critical_path(ran) == path


def test_the_order_prefect_lists_the_steps_in_does_not_matter() -> None:
    assert critical_path(DEPLOY[::-1]) == critical_path(DEPLOY)


def test_a_circle_of_names_has_an_end() -> None:
    assert critical_path(steps("a 0 2 b\nb 0 1 a")) == ["b", "a"]


def test_what_orchestrating_cost_is_what_no_step_on_the_path_took() -> None:
    assert overhead_seconds(DEPLOY, critical_path(DEPLOY), 21.5) == pytest.approx(1.5)


def test_the_table_is_in_the_order_things_began() -> None:
    shown = rows(DEPLOY, critical_path(DEPLOY))
    assert [row["began"] for row in shown] == [
        "+0.0 s",
        "+2.0 s",
        "+2.0 s",
        "+7.0 s",
        "+13.0 s",
        "+13.0 s",
        "+17.0 s",
    ]
    assert {row["stage"] for row in shown if row[""] == "overlapped"} == {"stage", "addon"}


def test_the_text_ends_with_the_whole_time() -> None:
    assert lines(DEPLOY, 21.0)[-1] == "21.0 s in all, of which 1.0 s orchestration"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=15))
def test_steps_on_the_path_never_overlap_and_end_with_the_last(drawn: list[tuple[int, int]]) -> None:
    ran = [Step(f"s{n}", float(began), float(took)) for n, (began, took) in enumerate(drawn)]
    known = {step.name: step for step in ran}
    path = [known[name] for name in critical_path(ran)]
    assert path[-1].ended == max(step.ended for step in ran)
    assert all(one.ended <= after.began + 0.01 for one, after in pairwise(path))

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.run.timeline import MOMENT_SECONDS, Step, critical_path, lines, overhead_seconds, rows


def steps(text: str) -> list[Step]:
    """ "name began took after+after" a line; no `after`: it was called in turn."""
    made = []
    for line in text.strip().splitlines():
        name, began, took, *after = line.split()
        waited = tuple(after[0].split("+")) if after else ()
        made.append(Step(name, name, float(began), float(began) + float(took), waited))
    return made


def names(path: list[Step]) -> list[str]:
    return [step.name for step in path]


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
        (steps("a 0 1\nb 1 5\nc 6 1 a"), ["a", "b", "c"]),  # called in turn, with an input from long before
        (steps("a 0 2\nb 0 1\nc 2.1 1 a+b"), ["a", "c"]),
        (steps("a 0 2\nb 2 5 a\nc 2.1 1 a"), ["a", "b"]),  # c ended, but nobody waited for it
        (steps("a 0 9\nb 1 2 a"), ["a"]),  # what ends after it began was no input
        (steps("a 0 1\nb 1 1 gone"), ["a", "b"]),  # what it waited for is not among the steps
        (steps("a 0 5\nb 1 1"), ["a"]),  # beside it, and over before it
        (DEPLOY, ["storage", "cluster", "nodes", "warm", "roll"]),
    ],
)
def test_the_steps_a_run_had_to_wait_for(ran: list[Step], path: list[str]) -> None:
    assert names(critical_path(ran)) == path


def test_the_order_prefect_lists_the_steps_in_does_not_matter() -> None:
    assert critical_path(DEPLOY[::-1]) == critical_path(DEPLOY)


def test_two_tasks_of_one_name_are_two_steps() -> None:
    ran = [Step("1", "x", 0, 1), Step("2", "x", 1, 3, ("1",)), Step("3", "y", 3, 4, ("2",))]
    assert [step.id for step in critical_path(ran)] == ["1", "2", "3"]


def test_what_orchestrating_cost_is_what_no_step_on_the_path_took() -> None:
    assert overhead_seconds(critical_path(DEPLOY), 21.5) == pytest.approx(1.5)


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


def test_a_terminal_that_showed_every_step_gets_the_long_ones_of_the_critical_path() -> None:
    assert lines([*DEPLOY, *steps("proof 20 0.1 roll")], 21.0, whole=False) == [
        "critical path: storage 2.0 s, cluster 5.0 s, nodes 6.0 s, warm 4.0 s, roll 3.0 s",
        "21.0 s in all, of which 900 ms orchestration",
    ]


def test_a_run_that_ended_before_its_first_step_has_no_timeline() -> None:
    assert lines([], 3.0) == []


# (began, took, inputs): steps need some of those that ended before they began, or claim some that did not
A_RUN = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 200), st.lists(st.integers(0, 9), max_size=3)),
    min_size=1,
    max_size=10,
).map(
    lambda drawn: [
        Step(str(n), f"s{n}", began / 10, (began + took) / 10, tuple(map(str, inputs)))
        for n, (began, took, inputs) in enumerate(drawn)
    ]
)
MANY = settings(max_examples=100, deadline=None)


@MANY
@given(A_RUN)
def test_no_step_of_the_path_ends_after_the_next_begins_and_it_ends_with_the_run(ran: list[Step]) -> None:
    path = critical_path(ran)
    assert path[-1].ended == max(step.ended for step in ran)
    assert all(one.ended <= after.began for one, after in pairwise(path))
    assert len(path) == len({step.id for step in path})


@MANY
@given(A_RUN)
def test_in_a_gap_of_the_path_no_other_step_ends(ran: list[Step]) -> None:
    """So that nothing a run waited for is counted as orchestration."""
    path = critical_path(ran)
    gaps = [(one.ended, after.began) for one, after in pairwise(path)] + [(-1.0, path[0].began)]
    for begins, ends in gaps:
        if ends - begins > MOMENT_SECONDS:
            assert [step for step in ran if begins < step.ended <= ends and step not in path] == []


@MANY
@given(A_RUN, st.floats(0, 5))
def test_orchestration_is_never_less_than_nothing(ran: list[Step], after: float) -> None:
    wall = max(step.ended for step in ran) + after
    assert overhead_seconds(critical_path(ran), wall) >= -1e-6

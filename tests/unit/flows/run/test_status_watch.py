"""Look, draw, wait."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from flows.run.status_watch import COSTS_SECONDS, rarely, stream, watch
from tasks.records.costs import Costs
from tasks.records.status import EnvironmentStatus, ModelStatus

NOW = datetime(2026, 11, 30, tzinfo=UTC)


class Looks:
    """Three looks, then the end; the second finds no answer."""

    def __init__(self) -> None:
        self.looks, self.waits = 0, []  # type: ignore[var-annotated]

    def look(self) -> Sequence[EnvironmentStatus]:
        self.looks += 1
        unknown = {"requests_per_minute": "Prometheus does not answer"} if self.looks == 2 else {}
        row = ModelStatus(model=f"llama-{self.looks}", unknown=unknown)
        return [EnvironmentStatus(environment="staging", at=NOW, models=(row,))]

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return self.looks == 3


def test_a_terminal_shows_each_look_in_place() -> None:
    looks, drawn = Looks(), io.StringIO()
    watch(looks.look, 7.0, looks.wait, Console(file=drawn, force_terminal=True, width=120))
    assert looks.waits == [7.0, 7.0, 7.0]
    text = drawn.getvalue()
    assert [f"llama-{number}" in text for number in (1, 2, 3)] == [True] * 3
    assert text.count("Prometheus does not answer") == 1
    assert "\x1b[1A" in text, "it goes back up to draw over what it drew"


def test_a_pipe_gets_each_look_as_lines() -> None:
    looks, drawn = Looks(), io.StringIO()
    watch(looks.look, 7.0, looks.wait, Console(file=drawn))
    assert drawn.getvalue().count("staging: instances unknown") == 3
    assert "\x1b" not in drawn.getvalue()


def test_a_program_gets_a_document_a_line() -> None:
    looks, said = Looks(), list[str]()
    stream(looks.look, 7.0, looks.wait, said.append)
    models = [json.loads(line)["environments"][0]["models"][0]["model"] for line in said]
    assert models == ["llama-1", "llama-2", "llama-3"]


def test_the_costs_of_a_day_are_looked_at_rarely_and_told_each_time() -> None:
    times = [0.0, 5.0, 10.0, COSTS_SECONDS, COSTS_SECONDS + 5.0]
    clock, asked = [0.0], list[bool]()
    costs = Costs(since=NOW, until=NOW, instance_hours={})

    def look(*, with_costs: bool) -> Sequence[EnvironmentStatus]:
        asked.append(with_costs)
        return [EnvironmentStatus(environment="staging", at=NOW, day=costs if with_costs else None)]

    looks = rarely(look, lambda: clock[0])
    for at in times:
        clock[0] = at
        assert looks()[0].day == costs
    assert asked == [True, False, False, True, False]

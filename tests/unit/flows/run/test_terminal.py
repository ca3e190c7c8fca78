"""What a terminal shows of a run, on a pseudo-terminal, in a pipe, and on one that is gone."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from flows.run.steps import Line, Steps
from flows.run.terminal import drawn, is_drawn_on, shown, view
from tasks.records.progress import Saying, Step
from tasks.task import STEPS
from tests.support.screens import TERMINAL, Screen, until

LOG = logging.getLogger("slipway")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    for name, value in TERMINAL.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    yield screen
    with suppress(OSError):
        screen.hang_up()


@pytest.fixture
def stream(screen: Screen) -> Iterator[TextIO]:
    """The screen, to write to."""
    stream = os.fdopen(screen.theirs, "w")
    yield stream
    with suppress(OSError):
        stream.close()


def turn(run: UUID, name: str, state: Any) -> None:
    STEPS.info("step", extra={"step": Step(str(run), name, state)})


def say(line: str, run: UUID | None = None, level: int = logging.INFO, **saying: Any) -> None:
    extra = {"slipway": Saying(line.partition(":")[0], **saying), "task_run_id": run}
    LOG.log(level, line, extra=extra)


def a_run(after_each: Callable[[str], None] = lambda what: None) -> None:
    """A stage that waits, runs with progress and is done, a warning and a failure."""
    stage, other = uuid4(), uuid4()
    turn(stage, "stage org/llama", "waiting")
    after_each("waiting: stage org/llama")
    turn(stage, "stage org/llama", "begun")
    say("staging: looking at the bucket", stage)
    after_each("looking at the bucket")
    say("staging: 12.0 MiB of 24.0 MiB (50 %), 8.0 MiB/s, 1.5 s left", stage, share=50.0)
    after_each("━━━")
    after_each("12.0 MiB of 24.0 MiB (50 %), 8.0 MiB/s, 1.5 s left")
    say("staging: a.safetensors: 12 bytes", stage, detail=True)
    say("preflight: warn GPU driver  not recorded", stage, logging.WARNING)
    after_each("! preflight: warn GPU driver")
    turn(stage, "stage org/llama", "done")
    after_each("✓ stage org/llama")
    turn(other, "roll out llama", "begun")
    turn(other, "roll out llama", "failed")
    after_each("✗ roll out llama")


def test_a_terminal_shows_what_waits_runs_with_its_progress_and_is_done(
    screen: Screen, stream: TextIO
) -> None:
    with shown(stream):
        a_run(screen.until)
    assert "a.safetensors" not in screen.text


def test_at_the_end_only_the_lines_that_stay_are_left(screen: Screen, stream: TextIO) -> None:
    with shown(stream):
        a_run(screen.until)
    until(lambda: "\x1b[?25h" in screen.raw, lambda: "the cursor is not shown again")
    after = screen.text[screen.text.rindex("✗ roll out llama") :]
    assert "waiting" not in after
    assert "MiB/s, 1.5 s left" not in after


def test_all_is_shown_where_it_is_asked_for(screen: Screen, stream: TextIO) -> None:
    with shown(stream, verbose=True):
        a_run()
    screen.until("a.safetensors: 12 bytes")


@pytest.mark.parametrize(("verbose", "details"), [(False, 0), (True, 1)])
def test_a_pipe_gets_plain_lines(verbose: bool, details: int) -> None:
    out = io.StringIO()
    with shown(out, verbose=verbose):
        a_run()
    lines = out.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines if "a.safetensors" not in line] == [
        "staging: looking at the bucket",
        "staging: 12.0 MiB of 24.0 MiB (50 %), 8.0 MiB/s, 1.5 s left",
        "preflight: warn GPU driver  not recorded",
    ]
    assert sum("a.safetensors" in line for line in lines) == details
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(("term", "drawn_on"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_terminal_whose_cursor_cannot_be_moved_gets_lines(
    stream: TextIO, monkeypatch: pytest.MonkeyPatch, term: str, drawn_on: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    assert is_drawn_on(stream) is drawn_on
    assert not is_drawn_on(io.StringIO())


@contextmanager
def a_pipe_nobody_reads() -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    try:
        yield stream
    finally:
        with suppress(BrokenPipeError):
            stream.close()


def test_a_broken_pipe_ends_nothing_and_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with a_pipe_nobody_reads() as stream, shown(stream):
        a_run()
        a_run()
    assert "rror" not in capfd.readouterr().err


def test_a_terminal_that_is_closed_ends_nothing(
    screen: Screen, stream: TextIO, capfd: pytest.CaptureFixture[str]
) -> None:
    with shown(stream):
        turn(uuid4(), "stage", "begun")
        screen.until("stage")
        screen.hang_up()
        a_run()
        gone = Path(f"/proc/self/fd/{stream.fileno()}")
        until(lambda: str(gone.readlink()) == os.devnull, lambda: "the view writes to the terminal")
        a_run()
    assert "Traceback" not in capfd.readouterr().err


def test_a_terminal_that_takes_nothing_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-S does: here nobody reads, and the kernel's buffer is full."""
    monkeypatch.setenv("TERM", TERMINAL["TERM"])
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w")
    began = time.monotonic()
    with shown(stream, verbose=True):
        for _ in range(300):
            a_run()
        assert time.monotonic() - began < 20
    assert time.monotonic() - began < 30
    # ends the write that the view's thread is in
    os.close(ours)
    until(lambda: not drawing(), lambda: "the view's thread is stuck")
    with suppress(OSError):
        stream.close()


def drawing() -> bool:
    return any("_draw" in thread.name for thread in threading.enumerate())


def text_of(what: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_of_more_steps_than_there_are_rows_the_rest_is_counted() -> None:
    steps = Steps()
    for number in range(9):
        steps.turn_to(Step(str(number), f"step {number}", "begun"), float(number))
    steps.turn_to(Step("w", "roll out", "waiting"), 9.0)
    lines = text_of(view(steps, 10.0, 100, height=8)).splitlines()
    assert len(lines) == 6
    assert "step 0" in lines[0]
    assert lines[-1].strip() == "4 more run; waiting: roll out"


def test_no_row_is_longer_than_the_terminal() -> None:
    steps = Steps()
    steps.turn_to(Step("a", "n" * 90, "begun"), 0.0)
    steps.hear(Saying("s", share=30.0), "s: " + "long " * 50, "a", warning=False)
    for number in range(30):
        steps.turn_to(Step(f"w{number}", "a step that waits", "waiting"), 0.0)
    for width in (60, 80, 200):
        lines = text_of(view(steps, 1.0, width, height=24), width).splitlines()
        assert len(lines) == 2
        assert all(len(line) <= width for line in lines)


def test_an_ended_step_has_its_time_and_how_far_it_came() -> None:
    assert drawn(Line("done", "stage", 2.0, "24.0 MiB of 24.0 MiB (100 %)")).plain.split() == [
        *(["✓", "stage", "2.0", "s"]),
        *(["24.0", "MiB", "of", "24.0", "MiB", "(100", "%)"]),
    ]

"""The runner against real small programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.cloud.interruption import nap
from tasks.cloud.processes import executable, run
from tasks.records.errors import Interrupted, ToolFailed, ToolMissing, ToolTimedOut
from tasks.records.stop import STOP
from tests.support.clock import until


@pytest.fixture(autouse=True)
def nobody_stops() -> Iterator[None]:
    STOP.clear()
    yield
    STOP.clear()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def is_gone(pid: int) -> bool:
    """No process any more, or a dead one nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_output_is_streamed_line_by_line_while_the_program_runs() -> None:
    seen: list[tuple[str, float]] = []
    began = time.monotonic()
    run(
        python("import time\nprint('a', flush=True)\ntime.sleep(0.6)\nprint('b')"),
        timeout=20,
        on_line=lambda line: seen.append((line, time.monotonic() - began)),
    )
    assert [line for line, _ in seen] == ["a", "b"]
    assert seen[1][1] - seen[0][1] > 0.4


def test_stdout_is_kept_apart_and_the_tail_has_both_streams() -> None:
    finished = run(python("import sys; print('out'); print('err', file=sys.stderr)"), timeout=20)
    assert finished.stdout == "out\n"
    assert sorted(finished.tail) == ["err", "out"]


@pytest.mark.parametrize("code", [0, 2])
def test_an_accepted_exit_code_is_handed_back(code: int) -> None:
    assert run(["sh", "-c", f"exit {code}"], timeout=20, accept=(0, 2)).code == code


def test_another_exit_code_is_a_failure_with_the_last_lines() -> None:
    with pytest.raises(ToolFailed, match="ended with exit code 3") as caught:
        run(["sh", "-c", "echo why >&2; exit 3"], timeout=20)
    assert caught.value.evidence == ("why",)


def test_a_program_killed_by_a_signal_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="exit code -9"):
        run(["sh", "-c", "kill -9 $$"], timeout=20)


def test_the_tail_is_bounded() -> None:
    assert len(run(["seq", "1000"], timeout=20).tail) == 40


def test_more_output_than_is_kept_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="wrote more than"):
        run(["seq", "100000"], timeout=20, keep_stdout=1000)


def test_bytes_that_are_no_text_do_not_end_the_run() -> None:
    assert "ok" in run(["printf", r"\377\376 ok\n"], timeout=20).stdout


def test_stdin_is_closed() -> None:
    assert run(["cat"], timeout=20).stdout == ""


def test_secrets_are_passed_by_environment() -> None:
    assert run(["sh", "-c", "echo $TOKEN"], timeout=20, env={"TOKEN": "s3cret"}).stdout == "s3cret\n"


def test_a_silent_program_ends_at_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(ToolTimedOut, match="did not end within 1 s"):
        run(["sleep", "60"], timeout=1)
    assert time.monotonic() - began < 30


def test_a_program_that_never_stops_talking_ends_at_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(ToolTimedOut):
        run(["sh", "-c", "while :; do echo x; sleep 0.01; done"], timeout=1)
    assert time.monotonic() - began < 30


def test_a_program_that_closed_its_output_ends_at_its_deadline() -> None:
    with pytest.raises(ToolTimedOut):
        run(python("import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)"), timeout=1)


def test_a_grandchild_that_holds_the_output_open_does_not_outlive_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(ToolTimedOut):
        run(["sh", "-c", "sleep 60 & exit 0"], timeout=1)
    assert time.monotonic() - began < 30


def test_an_interrupted_run_ends_with_an_orderly_signal() -> None:
    said: list[str] = []
    program = python(
        """
        import signal, sys, time
        def ended(*_):
            print("orderly", file=sys.stderr, flush=True)
            sys.exit(0)
        signal.signal(signal.SIGINT, ended)
        print("up", flush=True)
        time.sleep(60)
        """
    )
    pids: list[int] = []

    def hear(line: str) -> None:
        said.append(line)
        STOP.set()

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(program, timeout=60, on_line=hear, on_start=pids.append)
    assert said == ["up"]
    assert time.monotonic() - began < 30
    assert is_gone(pids[0])


def test_a_sleep_ends_when_somebody_asks_to_stop() -> None:
    threading.Timer(0.1, STOP.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        nap(60)
    assert time.monotonic() - began < 30


def test_a_failing_listener_does_not_leave_the_program_behind() -> None:
    pids: list[int] = []

    def hear(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="up"):
        run(["sh", "-c", "echo up; exec sleep 60"], timeout=60, on_line=hear, on_start=pids.append)
    assert is_gone(pids[0])


SPONSOR = """
import signal, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from tasks.cloud.processes import run
run(["sh", "-c", "echo $$; exec sleep 60"], timeout=float(sys.argv[1]), on_line=lambda l: print(l, flush=True))
"""


@contextmanager
def sponsor(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process of its own that runs a program, and that program's id."""
    with subprocess.Popen(
        [sys.executable, "-c", SPONSOR, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if not is_gone(child):
                os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("how", ["60", "60 deaf"])
def test_a_program_does_not_outlive_the_run_that_started_it(how: str) -> None:
    with sponsor(*how.split()) as (process, child):
        process.kill()
        process.wait(10)
        until(lambda: is_gone(child), 20)


LAST_WORDS = """
import sys
from tasks.cloud.processes import run
program = '''
import pathlib, signal, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a Go program, as terraform is, ends at a broken stdout
def save(*_):
    print("saving", flush=True)
    pathlib.Path(sys.argv[1]).touch()
    sys.exit(0)
signal.signal(signal.SIGINT, save)
print("up", flush=True)
time.sleep(60)
'''
run([sys.executable, "-c", program, sys.argv[1]], timeout=60, on_line=lambda l: print(l, flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_program_whose_run_was_killed_can_still_speak_and_save(tmp_path: Path) -> None:
    saved = tmp_path / "state"
    with subprocess.Popen(
        [sys.executable, "-c", LAST_WORDS, str(saved)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    ) as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
        process.wait(10)
        until(saved.exists, 20)


def test_a_run_started_with_sigint_ignored_still_ends_its_program_at_once() -> None:
    with sponsor("1", "deaf") as (_, child):
        until(lambda: is_gone(child), 20)


def test_a_run_that_was_ended_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(ToolFailed):
        run(["seq", "100000"], timeout=20, keep_stdout=1000)
    until(lambda: threading.active_count() <= before, 20)


def test_a_missing_executable_is_told_with_how_to_install_it() -> None:
    with pytest.raises(ToolMissing, match="no-such-tool is not on PATH") as caught:
        executable("no-such-tool", install_hint="install it")
    assert caught.value.next_command == "install it"

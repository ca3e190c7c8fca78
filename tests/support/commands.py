"""A `slipway` process: its output as it comes, the signals it is sent, and how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Seconds for one command: a whole deploy takes about 30 on a quiet machine, a drill that loads up and down 75.
PATIENCE = 600.0


NEXT = "next"  # an environment that takes what is proven in ENVIRONMENT


@dataclass
class Command:
    """A `slipway` that runs: its output as it comes, and the signals a person or a kernel sends."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def listen(self) -> Command:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> None:
        """Until a line matches. Fails the test where the command ends first."""
        self.wait_until(
            lambda: re.search(pattern, self.output) is not None, f"a line like {pattern!r}", patience
        )

    def wait_until(self, true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not true():
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode} before {what}:\n{self.output}")
            if time.monotonic() >= deadline:
                pytest.fail(f"no {what} within {patience:.0f} s:\n{self.output}")
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9 of this one process: what it started is left to itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        self.close()

    def cut_power(self) -> None:
        """kill -9 of it and of the terraform or helm it runs: their locks and half-made things stay."""
        self.process.send_signal(signal.SIGSTOP)  # or it would tidy up after its child
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(pid) for task in tasks for pid in task.read_text().split()]
        assert children
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        self.kill()

    def interrupt(self) -> Done:
        """Ctrl-C, and how it ended."""
        self.process.send_signal(signal.SIGINT)
        return Done(self.end(), self.output)

    def end(self, patience: float = PATIENCE) -> int:
        code = self.process.wait(patience)
        self.close()
        return code

    def close(self) -> None:
        """The last lines, and no descriptor left."""
        assert self._reader and self.process.stdout
        self._reader.join(30)
        self.process.stdout.close()
        if log := os.environ.get("SLIPWAY_LIFECYCLE_LOG"):
            with Path(log).open("a") as file:
                file.write(f"== {self.process.args!r} -> {self.process.returncode}\n{self.output}\n")


@dataclass(frozen=True)
class Done:
    code: int
    output: str

    def succeeded(self) -> Done:
        assert self.code == 0, self.output
        return self

    def refused(self, code: int, *said: str) -> Done:
        """One clear error: this exit code, these patterns, a next command, and no traceback."""
        assert self.code == code, self.output
        assert len(re.findall("^error: ", self.output, re.MULTILINE)) == 1, self.output
        assert "  next: " in self.output, self.output
        assert "Traceback" not in self.output, self.output
        for pattern in said:
            assert re.search(pattern, self.output), f"no {pattern!r} in:\n{self.output}"
        return self

    def was_interrupted(self) -> Done:
        """Ctrl-C as a person sees it."""
        assert self.code == 130, self.output
        assert "error: interrupted" in self.output
        assert "Traceback" not in self.output
        return self

"""What a terminal knows of a run: the steps that wait, those that run and how far they are, and lines that stay. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tasks.records.progress import Saying, Step

Mark = Literal["done", "failed", "warning", "said"]


class Line(NamedTuple):
    """A line that stays on the terminal. `took`: seconds of a step that ended; `text`: how far its progress came."""

    mark: Mark
    what: str
    took: float | None = None
    text: str = ""


@dataclass
class Running:
    """A step that runs: since when, what it said last, and its progress, 0 to 100."""

    name: str
    began: float
    said: str = ""
    share: float | None = None
    progress: str = ""

    @property
    def text(self) -> str:
        return self.progress if self.share is not None and self.share < 100 else self.said


@dataclass
class Steps:
    """The steps of one run, by the ids of their task runs. `verbose`: every line stays."""

    verbose: bool = False
    waiting: dict[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    def turn_to(self, step: Step, at: float) -> list[Line]:
        """Take note of what became of a step at `at`, in seconds; the line that it leaves."""
        if step.state == "waiting":
            # a task without inputs may begin, and end, before it is told that it waits
            if step.id not in self.begun:
                self.waiting[step.id] = step.name
            return []
        self.waiting.pop(step.id, None)
        self.begun.add(step.id)
        if step.state == "begun":
            self.running[step.id] = Running(step.name, at)
            return []
        ran = self.running.pop(step.id, Running(step.name, at))
        return [Line(step.state, ran.name, max(at - ran.began, 0.0), ran.progress.partition(" | ")[0])]

    def hear(self, saying: Saying, line: str, by: str | None, *, warning: bool) -> list[Line]:
        """Take note of a line; itself where it stays. `by`: the id of the step that said it."""
        step = self.running.get(by or "")
        if step:
            step.said = line.removeprefix(f"{saying.stage}: ")
            if saying.share is not None:
                step.share, step.progress = saying.share, step.said
        if warning:
            return [Line("warning", line)]
        return [Line("said", line)] if self.verbose or (step is None and not saying.detail) else []

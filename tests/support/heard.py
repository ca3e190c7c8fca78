"""A reporter that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Heard:
    """`lines` said; `steps` of progress as (done, total), with the `details` beside each."""

    lines: list[str] = field(default_factory=list)
    steps: list[tuple[float, float]] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def detail(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        self.steps.append((done, total))
        self.details.append(detail)

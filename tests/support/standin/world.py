"""What the stand-in tasks change: a folder with what serves, a ledger, terraform's state and a log of the stages.

A stage that has a file in hold/ waits there, as a stage waits for AWS.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.cloud.interruption import nap

VARIABLE = "SLIPWAY_STANDIN_WORLD"
STAGES = ("terraform", "staging", "warming", "rollout", "validation")


@dataclass
class Serving:
    """`live`: what answers. `serving`, `rolling`: what the ledger says is proven, and under way."""

    live: str = "r0"
    serving: str = "r0"
    rolling: str | None = None


@dataclass(frozen=True)
class Entry:
    """A line of the log: which process began or ended which stage."""

    pid: int
    stage: str
    what: str
    at: float


@dataclass(frozen=True)
class World:
    folder: Path

    @classmethod
    def here(cls) -> World:
        return cls(Path(os.environ[VARIABLE]))

    def make(self) -> World:
        (self.folder / "hold").mkdir(parents=True)
        self.write(Serving())
        return self

    def read(self) -> Serving:
        return Serving(**json.loads((self.folder / "serving.json").read_text()))

    def write(self, serving: Serving) -> None:
        partial = self.folder / f"serving.{os.getpid()}.partial"
        partial.write_text(json.dumps(asdict(serving)))
        partial.replace(self.folder / "serving.json")

    def log(self, stage: str, what: str) -> None:
        with (self.folder / "log").open("a") as file:
            file.write(f"{os.getpid()} {stage} {what} {time.time()}\n")

    def entries(self) -> list[Entry]:
        file = self.folder / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [
            Entry(int(pid), stage, what, float(at))
            for pid, stage, what, at in (line.split() for line in lines)
        ]

    def hold(self, stage: str) -> None:
        (self.folder / "hold" / stage).touch()

    def let_go(self) -> None:
        for file in (self.folder / "hold").iterdir():
            file.unlink()

    def held(self, stage: str) -> bool:
        return (self.folder / "hold" / stage).exists()

    def pace(self, seconds: float) -> None:
        """Let every stage take so long."""
        (self.folder / "pace").write_text(str(seconds))

    @property
    def seconds(self) -> float:
        file = self.folder / "pace"
        return float(file.read_text()) if file.exists() else 0.0

    def pass_through(self, stage: str) -> None:
        """Be in `stage` while it is held; logged with how it ended."""
        self.log(stage, "begin")
        until = time.monotonic() + self.seconds
        try:
            while self.held(stage) or time.monotonic() < until:
                nap(0.1)
        except BaseException:
            self.log(stage, "stopped")
            raise
        self.log(stage, "end")

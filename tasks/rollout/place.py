"""Where a rollout happens, and who is told about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.progress import Reporter
from tasks.releases.ledger import Ledger
from tasks.rollout import gate


def show_nothing(key: str, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Where there is no run to show a table in."""


@dataclass(frozen=True)
class Place:
    """One environment's cluster and one model's ledger there. `show` makes a table of the run: key, rows, title;
    `group` says what ails the GPU node group."""

    root: Path
    cluster: Cluster
    environment: Environment
    ledger: Ledger
    reporter: Reporter
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = nap
    show: Callable[[str, Sequence[Mapping[str, Any]], str], None] = show_nothing
    group: Callable[[], tuple[str, ...]] = tuple

    def workload(self, name: str) -> dict[str, Any] | None:
        """The Deployment of that name as it is now."""
        return self.cluster.get("apps/v1", "Deployment", name, self.environment.namespace)

    def wait_for_pods(
        self, workload: str, release_id: str, seconds: float, *, first: int = 0
    ) -> list[dict[str, Any]]:
        """The release's pods once all of them are there and Ready, or the `first` so many. Raises RolloutFailed."""
        return gate.wait_until_complete(
            self.cluster,
            self.environment.namespace,
            workload,
            release_id,
            deadline=self.clock() + seconds,
            patience=self.environment.deadlines.pod_start,
            reporter=self.reporter,
            clock=self.clock,
            sleep=self.sleep,
            first=first,
            group=self.group,
        )

    def wait_until(self, true: Callable[[], bool], seconds: float, what: str, workload: str) -> None:
        """Look four times a second. Raises RolloutFailed with `what` did not come about."""
        deadline = self.clock() + seconds
        while not true():
            if self.clock() >= deadline:
                raise RolloutFailed(
                    what,
                    next_command=f"kubectl -n {self.environment.namespace} describe deployment {workload}",
                )
            self.sleep(0.25)

"""What a rollout works with: cluster, environment, ledger, reporter, clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.pairs import Paired
from tasks.records.progress import Reporter
from tasks.records.reports import MeasureFrom
from tasks.releases.ledger import Ledger

Beside = Callable[[Sequence[str], Sequence[str], str], Paired]


def show_nothing(key: str, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Discard a table: for callers outside a Prefect run."""


@dataclass(frozen=True)
class RolloutContext:
    """One environment's cluster and one model's ledger there.

    Args:
        root: the project's folder.
        show: makes a table of the run from key, rows, title.
        group_issues: what EKS says is wrong with the GPU node group, or Karpenter of its NodePool, as lines.
        measure_from: where the gateway is asked from: a Job in the cluster, or this process.
        beside: asks two releases in pairs before traffic moves: base URLs of what serves and of the new one, and the
            release that serves. Raises ValidationFailed where the new one is worse.
        more_for_pull: seconds a pod may take to start beyond `deadlines.pod_start`, for its image's size.
    """

    root: Path
    cluster: Cluster
    environment: Environment
    ledger: Ledger
    reporter: Reporter
    time: Time = REAL
    show: Callable[[str, Sequence[Mapping[str, Any]], str], None] = show_nothing
    group_issues: Callable[[], tuple[str, ...]] = tuple
    measure_from: MeasureFrom = "cluster"
    beside: Beside | None = None
    more_for_pull: float = 0.0

    @property
    def namespace(self) -> str:
        """The namespace that models are served in."""
        return self.environment.namespace

    def workload(self, name: str) -> Object | None:
        """The Deployment of that name as it is now."""
        return self.cluster.get("apps/v1", "Deployment", name, self.namespace)

    def wait_until(self, reached: Callable[[], bool], seconds: float, late: str, workload: str) -> None:
        """Wait for a state of a Deployment. Raises RolloutFailed with the cause `late`."""

        def failure() -> RolloutFailed:
            return RolloutFailed(
                late, next_command=f"kubectl -n {self.namespace} describe deployment {workload}"
            )

        until(reached, seconds, failure, self.time)

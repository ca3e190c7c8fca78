"""Why the nodes that a pod waits for do not come: the node group's health issues, or what Karpenter says."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from typing import ClassVar

from tasks.cloud import karpenter, node_group, objects
from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import CloudError, ClusterError
from tasks.records.results import Infrastructure

# EKS throttles callers that ask more often; a gate looks four times a second
EVERY_SECONDS = 10.0


class Refusals(abc.ABC):
    """Why there is no node, as lines, read again every ten seconds at most."""

    unknown: ClassVar[str]  # what is said where it cannot be read

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: float | None = None
        self._lines: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, ...]:
        """The lines; where nobody answers, one that says so and ends nothing."""
        now = self._clock()
        if self._asked is None or now - self._asked >= EVERY_SECONDS:
            self._asked = now
            try:
                self._lines = self._ask()
            except (CloudError, ClusterError) as error:
                self._lines = (f"{self.unknown}: {error.cause}",)
        return self._lines

    @abc.abstractmethod
    def _ask(self) -> tuple[str, ...]:
        """Read them. Raises CloudError, ClusterError."""


class NodeGroupHealth(Refusals):
    """One node group's health issues."""

    unknown = "the node group's health is not known"

    def __init__(
        self, aws: Aws, infrastructure: Infrastructure, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self._aws, self._infrastructure = aws, infrastructure

    def _ask(self) -> tuple[str, ...]:
        found = node_group.issues(node_group.describe(self._aws, self._infrastructure))
        return tuple(f"node group {self._infrastructure.gpu_node_group}: {issue}" for issue in found)


class PoolRefusals(Refusals):
    """Why Karpenter brings no node to the pods of a namespace that have none."""

    unknown = "what Karpenter says is not known"

    def __init__(self, cluster: Cluster, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._cluster, self._namespace = cluster, namespace

    def _ask(self) -> tuple[str, ...]:
        pods = objects.staying(self._cluster.list("v1", "Pod", self._namespace))
        waiting = [pod for pod in pods if not objects.node_of(pod)]
        if not waiting:
            return ()
        since = min(str(pod["metadata"]["creationTimestamp"]) for pod in waiting)
        return tuple(karpenter.refusals(self._cluster, waiting, since))

"""What ails the GPU node group, or what Karpenter says, which explains why the nodes that a pod waits for do not come."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.cloud import karpenter, node_group, objects
from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import CloudError, ClusterError
from tasks.records.results import Infrastructure

# EKS throttles callers that ask more often; a gate looks four times a second
EVERY_SECONDS = 10.0


class NodeGroupHealth:
    """One node group's health issues as lines, read again every ten seconds at most."""

    def __init__(
        self, aws: Aws, infrastructure: Infrastructure, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._aws, self._infrastructure, self._clock = aws, infrastructure, clock
        self._asked: float | None = None
        self._lines: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, ...]:
        """The issues; where EKS does not answer, one line that says so and ends nothing."""
        now = self._clock()
        if self._asked is None or now - self._asked >= EVERY_SECONDS:
            self._asked = now
            try:
                self._lines = self._ask()
            except CloudError as error:
                self._lines = (f"the node group's health is not known: {error.cause}",)
        return self._lines

    def _ask(self) -> tuple[str, ...]:
        found = node_group.issues(node_group.describe(self._aws, self._infrastructure))
        return tuple(f"node group {self._infrastructure.gpu_node_group}: {issue}" for issue in found)


class PoolRefusals:
    """Why Karpenter brings no node to the pods of a namespace that have none, as lines, read again every ten seconds at most."""

    def __init__(self, cluster: Cluster, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._namespace, self._clock = cluster, namespace, clock
        self._asked: float | None = None
        self._lines: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, ...]:
        """The refusals; where the API does not answer, one line that says so and ends nothing."""
        now = self._clock()
        if self._asked is None or now - self._asked >= EVERY_SECONDS:
            self._asked = now
            try:
                self._lines = self._ask()
            except ClusterError as error:
                self._lines = (f"what Karpenter says is not known: {error.cause}",)
        return self._lines

    def _ask(self) -> tuple[str, ...]:
        pods = objects.staying(self._cluster.list("v1", "Pod", self._namespace))
        waiting = [pod for pod in pods if not objects.node_of(pod)]
        if not waiting:
            return ()
        since = min(str(pod["metadata"]["creationTimestamp"]) for pod in waiting)
        return tuple(karpenter.refusals(self._cluster, waiting, since))

"""Where a run happens: one environment, its storage, its cluster, and the clients for them."""

from __future__ import annotations

import functools

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster, connect
from tasks.records.environment import Environment
from tasks.records.record import Record
from tasks.records.results import Infrastructure, StorageOutputs


class Site(Record):
    """An environment as it is deployed. Tasks that need its cluster take this first, then the model."""

    environment: Environment
    storage: StorageOutputs
    infrastructure: Infrastructure

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def namespace(self) -> str:
        """The namespace that models are served in."""
        return self.environment.namespace

    def aws(self) -> Aws:
        """AWS clients of its region, with its credentials. Raises CloudError for an unknown profile."""
        return aws_of(self.environment)

    def cluster(self) -> Cluster:
        """The Kubernetes API of its cluster; the token renews itself."""
        return _cluster(self.infrastructure)


def aws_of(environment: Environment) -> Aws:
    """AWS clients of an environment that may not be deployed yet. Raises CloudError for an unknown profile."""
    return _aws(environment.region, environment.aws_profile)


@functools.lru_cache(maxsize=8)
def _aws(region: str, profile: str | None) -> Aws:
    """One set of clients a process."""
    return Aws(region, profile)


@functools.lru_cache(maxsize=8)
def _cluster(infrastructure: Infrastructure) -> Cluster:
    """One connection a cluster and process."""
    return connect(infrastructure, _aws(infrastructure.region, infrastructure.aws_profile))

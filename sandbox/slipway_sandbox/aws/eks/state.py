"""What the EKS emulation remembers, and how a status follows from the time that has passed.

Nothing runs in the background: every resource keeps when its present transition ends, and its status is worked out
when somebody reads it.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from slipway_sandbox.aws.wire import AwsError, Document
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCOUNT_ID, Settings


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """`now` dates things (UTC), `monotonic` (seconds) measures how long they have been under way."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Transition:
    """A resource on its way: `during` until `ends` (monotonic seconds), then `after`."""

    during: str
    after: str
    ends: float

    def status(self, clock: Clock) -> str:
        return self.during if clock.monotonic() < self.ends else self.after


@dataclass
class Update:
    """One entry of ListUpdates: InProgress, then Successful."""

    document: Document
    transition: Transition

    def show(self, clock: Clock) -> Document:
        return {**self.document, "status": self.transition.status(clock)}


@dataclass
class Nodegroup:
    document: Document
    transition: Transition
    updates: dict[str, Update] = field(default_factory=dict)
    launching: bool = False  # instances were asked for and have not been seen to come yet
    issues: list[Document] = field(default_factory=list)
    failed: bool = False


@dataclass
class Addon:
    document: Document
    transition: Transition
    updates: dict[str, Update] = field(default_factory=dict)


@dataclass
class AccessEntry:
    document: Document
    policies: dict[str, Document] = field(default_factory=dict)


@dataclass
class Cluster:
    document: Document
    transition: Transition
    failure: str | None = None
    interfaces: list[str] = field(default_factory=list)  # the control plane's in the cluster's subnets
    endpoint: str | None = None
    certificate_authority: str | None = None
    nodegroups: dict[str, Nodegroup] = field(default_factory=dict)
    addons: dict[str, Addon] = field(default_factory=dict)
    entries: dict[str, AccessEntry] = field(default_factory=dict)
    associations: dict[str, Document] = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.document["name"])


RELEASE_SECONDS = 0.2  # between two looks at the instances of a node group that is being deleted
GONE = "GONE"  # the status after DELETING: the resource is dropped when next read


class State:
    """One region's EKS. Every operation holds `lock` while it touches the clusters."""

    def __init__(
        self,
        region: str,
        settings: Settings,
        faults: Faults,
        clock: Clock,
        holds_instances: Callable[[str, str], bool] = lambda cluster, group: False,
    ) -> None:
        """`holds_instances`: whether EC2 still has instances of a node group, by its cluster's and its own name."""
        self.region, self.settings, self.faults, self.clock = region, settings, faults, clock
        self._holds_instances = holds_instances
        self.lock = threading.RLock()
        self._clusters: dict[str, Cluster] = {}

    def clusters(self) -> dict[str, Cluster]:
        """Those that exist now: deleted ones are forgotten when their time is up."""
        for name, cluster in list(self._clusters.items()):
            if cluster.transition.status(self.clock) == GONE:
                del self._clusters[name]
        return self._clusters

    def cluster(self, name: str) -> Cluster:
        """Raises ResourceNotFoundException."""
        try:
            return self.clusters()[name]
        except KeyError:
            raise AwsError(
                "ResourceNotFoundException", f"No cluster found for name: {name}.", 404, clusterName=name
            ) from None

    def nodegroups(self, cluster: Cluster) -> dict[str, Nodegroup]:
        """Those that exist now. One that is deleted stays DELETING until its last instance is terminated."""
        for name, group in list(cluster.nodegroups.items()):
            if group.transition.status(self.clock) != GONE:
                continue
            if self._holds_instances(cluster.name, name):
                group.transition = self.until("DELETING", GONE, RELEASE_SECONDS)
            else:
                del cluster.nodegroups[name]
        return cluster.nodegroups

    def addons(self, cluster: Cluster) -> dict[str, Addon]:
        for name, addon in list(cluster.addons.items()):
            if addon.transition.status(self.clock) == GONE:
                del cluster.addons[name]
        return cluster.addons

    def until(self, during: str, after: str, seconds: float) -> Transition:
        return Transition(during, after, self.clock.monotonic() + seconds)

    def update(self, kind: str, changes: Document, seconds: float) -> Update:
        """An Update of type `kind`; `changes` are its params by name."""
        document = {
            "id": str(uuid.uuid4()),
            "type": kind,
            "params": [{"type": name, "value": _text(value)} for name, value in changes.items()],
            "createdAt": self.clock.now(),
            "errors": [],
        }
        return Update(document, self.until("InProgress", "Successful", seconds))

    def arn(self, kind: str, *parts: str) -> str:
        return f"arn:aws:eks:{self.region}:{ACCOUNT_ID}:{kind}/{'/'.join(parts)}"


def require_active(cluster: Cluster, clock: Clock) -> None:
    """Raises InvalidRequestException while the cluster is being created or deleted, as AWS does."""
    status = "FAILED" if cluster.failure else cluster.transition.status(clock)
    if status not in ("ACTIVE", "UPDATING"):
        raise AwsError(
            "InvalidRequestException",
            f"Cluster '{cluster.name}' is not in ACTIVE status",
            clusterName=cluster.name,
        )


def not_found(message: str, **fields: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404, **fields)


def in_use(message: str, **fields: str) -> AwsError:
    return AwsError("ResourceInUseException", message, 409, **fields)


def invalid(message: str, **fields: str) -> AwsError:
    return AwsError("InvalidParameterException", message, 400, **fields)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

"""Amazon EKS, whole enough for Terraform, the product and the nodes: one State a region, one part a noun.

moto's own EKS makes every cluster ACTIVE at once and has no add-ons, access entries or pod identity; this replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore import xform_name

from slipway_sandbox.aws.eks import network
from slipway_sandbox.aws.eks.access import AccessEntries
from slipway_sandbox.aws.eks.addons import Addons
from slipway_sandbox.aws.eks.clusters import Clusters
from slipway_sandbox.aws.eks.door import Door
from slipway_sandbox.aws.eks.nodegroups import Nodegroups
from slipway_sandbox.aws.eks.pod_identity import PodIdentity
from slipway_sandbox.aws.eks.state import Clock, State
from slipway_sandbox.aws.eks.tags import Tags
from slipway_sandbox.aws.wire import AwsError, Caller, Document
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import Settings

Operation = Callable[[Document, Caller], Document]


class Eks:
    """Every operation as `eks.create_cluster(parameters, caller)`; the caller's region chooses the state.

    The faults `eks-throttled` and `aws-slow` strike before an operation; the target has its name (DescribeCluster).
    """

    def __init__(self, settings: Settings, faults: Faults, clock: Clock | None = None) -> None:
        self._settings, self._faults, self._clock = settings, faults, clock or Clock()
        self._door = Door(settings)
        self._states: dict[str, State] = {}

    def __getattr__(self, name: str) -> Operation:
        if name.startswith("_"):
            raise AttributeError(name)
        if not any(
            hasattr(kind, name) for kind in (Clusters, Nodegroups, Addons, AccessEntries, PodIdentity, Tags)
        ):
            raise AttributeError(name)

        def operation(parameters: Document, caller: Caller) -> Document:
            self._faults.wait("aws-slow", f"eks {_operation_name(name)}")
            if self._faults.hit("eks-throttled", target=_operation_name(name)):
                raise AwsError("ThrottlingException", "Rate exceeded", 429)
            for part in self._parts(caller.region):
                if hasattr(part, name):
                    answer: Document = getattr(part, name)(parameters, caller)
                    return answer
            raise AttributeError(name)

        return operation

    def tagged(self, region: str) -> Iterator[tuple[str, str, dict[str, str]]]:
        """(ARN, resource type, tags) of everything here, for the Resource Groups Tagging API."""
        state = self._state(region)
        with state.lock:
            yield from list(Tags(state).resources())

    def access_entries(self, cluster: str) -> list[dict[str, str]]:
        """Principal and user name of every access entry, as the cluster's own authenticator sees them.

        Raises AwsError ResourceNotFoundException.
        """
        state = self._state(self._settings.region)
        with state.lock:
            entries = list(state.cluster(cluster).entries.values())
        return [{key: entry.document[key] for key in ("principalArn", "username")} for entry in entries]

    def _state(self, region: str) -> State:
        if region not in self._states:
            self._states[region] = State(
                region,
                self._settings,
                self._faults,
                self._clock,
                partial(network.holds_instances, region),
            )
        return self._states[region]

    def _parts(self, region: str) -> list[Any]:
        state = self._state(region)
        return [
            Clusters(state, self._door),
            Nodegroups(state),
            Addons(state),
            AccessEntries(state),
            PodIdentity(state),
            Tags(state),
        ]


def _operation_name(method: str) -> str:
    """create_cluster -> CreateCluster; EKS has no names where this is not exact."""
    name = "".join(word.capitalize() for word in method.split("_"))
    assert xform_name(name) == method
    return name

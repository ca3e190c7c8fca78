"""When a pod last came to a node or went from it (pkg/controllers/nodeclaim/podevents/controller.go).

Heard, not looked for: a pod that goes between two looks leaves no other trace. Upstream passes over what comes within five
seconds of the last one; here every event counts, as a `consolidateAfter` of seconds is of use in a sandbox.
"""

from __future__ import annotations

from datetime import datetime

from slipway_sandbox.controllers.objects import (
    NODES,
    PODS,
    Object,
    is_deleting,
    status_of,
    timestamp,
)
from slipway_sandbox.controllers.pods import is_terminal
from slipway_sandbox.images.karpenter.state import State
from slipway_sandbox.nodes.eviction import of_daemon_set


def is_event(before: Object | None, after: Object | None) -> bool:
    """Whether a pod's change is its coming to a node, or its going: bound, ended, being deleted, gone."""
    pod = after or before
    if pod is None or not pod["spec"].get("nodeName") or of_daemon_set(pod):
        return False
    return before is None or after is None or _place(before) != _place(after)


def _place(pod: Object) -> tuple[bool, bool, bool]:
    return bool(pod["spec"].get("nodeName")), is_terminal(pod), is_deleting(pod)


class PodEvents:
    """The time of the last event by node name, and in the status of its NodeClaim."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: dict[str, datetime] = {}
        state.world.store(PODS).listen(self._changed)

    def _changed(self, before: Object | None, after: Object | None) -> None:
        if is_event(before, after):
            pod = after or before
            assert pod is not None
            self._last[pod["spec"]["nodeName"]] = self._state.world.now()

    def last(self, node: str) -> datetime | None:
        return self._last.get(node)

    async def step(self) -> None:
        """Write down what is news."""
        for claim in self._state.claims():
            at = self._last.get(status_of(claim).get("nodeName", ""))
            if at is not None:
                await self._state.set_status(claim, {**status_of(claim), "lastPodEventTime": timestamp(at)})
        nodes = self._state.world.store(NODES)
        self._last = {name: at for name, at in self._last.items() if nodes.get("", name)}

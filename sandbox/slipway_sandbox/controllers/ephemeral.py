"""Generic ephemeral volumes: a pod's own claims, made from its volumeClaimTemplates (pkg/controller/volume/ephemeral).

They go with the pod, by their owner reference.
"""

from __future__ import annotations

from collections.abc import Callable

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    PODS,
    Key,
    Object,
    controller_reference,
    is_deleting,
    key_of,
    name_of,
    owners_of,
    uid_of,
)
from slipway_sandbox.controllers.writes import Create, Decision, Note

RETRY_SECONDS = 1.0


def ephemeral_volumes(pod: Object) -> list[Object]:
    return [volume for volume in pod["spec"].get("volumes") or [] if "ephemeral" in volume]


def ephemeral_claim_name(pod: Object, volume: Object) -> str:
    return f"{name_of(pod)}-{volume['name']}"


def not_for_pod(pod: Object, claim: Object) -> str:
    """Why a claim of the right name is not the pod's own; empty where it is."""
    if any(owner["uid"] == uid_of(pod) and owner.get("controller") for owner in owners_of(claim)):
        return ""
    namespace = pod["metadata"]["namespace"]
    return f"PVC {namespace}/{name_of(claim)} was not created for pod {namespace}/{name_of(pod)} (pod is not owner)"


def decide_ephemeral(pod: Object, claim: Callable[[str], Object | None]) -> Decision:
    """The claims the pod still lacks. `claim` finds one of its namespace by name."""
    decision = Decision()
    if is_deleting(pod):
        return decision
    for volume in ephemeral_volumes(pod):
        name = ephemeral_claim_name(pod, volume)
        found = claim(name)
        if found is None:
            decision.writes.append(Create(CLAIMS, _claim(pod, name, volume["ephemeral"])))
        elif why := not_for_pod(pod, found):
            message = f"ephemeral volume {volume['name']}: {why}"
            decision.writes.append(Note(pod, "Pod", "FailedBinding", message, warning=True))
            decision.again(RETRY_SECONDS)
            break
    return decision


def _claim(pod: Object, name: str, source: Object) -> Object:
    template = source["volumeClaimTemplate"]
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            "name": name,
            "namespace": pod["metadata"]["namespace"],
            "ownerReferences": [controller_reference(pod, PODS)],
            **{field: metadata[field] for field in ("annotations", "labels") if metadata.get(field)},
        },
        "spec": template["spec"],
    }


class EphemeralVolumeController(Controller):
    component = "ephemeral_volume"
    needs = (PODS, CLAIMS)

    def wire(self) -> None:
        self.watch(PODS, lambda pod: [key_of(pod)] if ephemeral_volumes(pod) else [])
        self.watch(CLAIMS, self._pods_of)

    async def reconcile(self, key: Key) -> None:
        pod = self.world.store(PODS).get(*key)
        if pod is not None:
            claims = self.world.store(CLAIMS)
            await self.act(key, decide_ephemeral(pod, lambda name: claims.get(key[0], name)))

    def _pods_of(self, claim: Object) -> list[Key]:
        """Pods that name this claim: whoever deletes one sees it made again."""
        namespace = claim["metadata"]["namespace"]
        return [
            key_of(pod)
            for pod in self.world.store(PODS).within(namespace)
            for volume in ephemeral_volumes(pod)
            if ephemeral_claim_name(pod, volume) == name_of(claim)
        ]

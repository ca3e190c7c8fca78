"""A NodeClaim's life: launched, registered, initialized; given up where EC2 has nothing or the node never joins."""

from __future__ import annotations

import logging

from slipway_sandbox.controllers.objects import (
    NODES,
    Object,
    condition_is,
    condition_of,
    labels_of,
    name_of,
    parse_time,
    status_of,
)
from slipway_sandbox.controllers.writes import Delete, Patch
from slipway_sandbox.images.karpenter.claims import (
    Cluster,
    launchable,
    not_initialized,
    registered_node,
    user_data,
)
from slipway_sandbox.images.karpenter.cloud import InsufficientCapacity, Launched, LaunchFailed
from slipway_sandbox.images.karpenter.offerings import (
    NODE_CLASS,
    NODE_POOL,
    Offering,
    resources,
    satisfies,
)
from slipway_sandbox.images.karpenter.resources import INITIALIZED, NODE_CLAIMS, conditioned, with_root
from slipway_sandbox.images.karpenter.state import COMPONENT, State
from slipway_sandbox.nodes.instance_types import instance_type

log = logging.getLogger("karpenter")
STEPS = ("Launched", "Registered", "Initialized")


class Lifecycle:
    """`step` takes one claim that is not being deleted as far as it can be taken now."""

    def __init__(self, state: State, cluster: Cluster) -> None:
        self._state, self._cluster = state, cluster

    async def step(self, claim: Object) -> None:
        state = self._state
        if not condition_is(claim, "Launched"):
            await self._launch(claim)
            return
        if not condition_is(claim, "Registered"):
            claim = await self._register(claim)
        if condition_is(claim, "Registered") and not condition_is(claim, "Initialized"):
            claim = await self._initialize(claim)
        if not condition_is(claim, "Registered") and self._age(claim) > state.timing.registration:
            log.info("deleting nodeclaim %s: it did not register in time", name_of(claim))
            await self.delete(claim)

    async def delete(self, claim: Object) -> None:
        await self._state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))

    def _age(self, claim: Object) -> float:
        return (self._state.world.now() - parse_time(claim["metadata"]["creationTimestamp"])).total_seconds()

    # --- launched

    async def _launch(self, claim: Object) -> None:
        state, node_class = self._state, self._state.class_of(claim["spec"])
        about = [(claim, "NodeClaim")]
        if node_class is None:
            name = claim["spec"]["nodeClassRef"]["name"]
            said = f'NodeClaim {name_of(claim)} event: EC2NodeClass "{name}" is not ready'
            state.note(about, "NodeClassNotReady", said, warning=True)
            await self.delete(claim)
            return
        offerings = launchable(claim, state.offerings(node_class))
        try:
            if not offerings:
                raise InsufficientCapacity("all requested instance types were unavailable during launch")
            launched = await self._ask(claim, node_class, offerings)
        except InsufficientCapacity as error:
            log.warning("failed launching nodeclaim %s: %s", name_of(claim), error)
            said = f"NodeClaim {name_of(claim)} event: {str(error)[:300]}"
            state.note(about, "InsufficientCapacityError", said, warning=True)
            await self.delete(claim)
        except LaunchFailed as error:
            status = conditioned(
                claim, "Launched", "Unknown", state.now(), reason="LaunchFailed", message=str(error)[:300]
            )
            await state.set_status(claim, self._rooted(claim, status))
            raise
        else:
            await self._launched(claim, launched)

    async def _ask(self, claim: Object, node_class: Object, offerings: list[Offering]) -> Launched:
        """Raises InsufficientCapacity, LaunchFailed."""
        images = status_of(node_class)["amis"]
        image = _image_for(offerings[0], images)
        offerings = [o for o in offerings if _image_for(o, images) == image]
        spec, status = node_class["spec"], status_of(node_class)
        data: Object = {
            "ImageId": image,
            "UserData": user_data(claim, labels_of(claim), self._cluster, spec.get("kubelet") or {}),
            "SecurityGroupIds": [group["id"] for group in status["securityGroups"]],
            "IamInstanceProfile": {"Name": status["instanceProfile"]},
            "MetadataOptions": _metadata_options(spec.get("metadataOptions") or {}),
        }
        subnets: dict[str, str] = {}
        for subnet in status["subnets"]:
            subnets.setdefault(subnet["zone"], subnet["id"])
        tags = {
            **(spec.get("tags") or {}),
            f"kubernetes.io/cluster/{self._cluster.name}": "owned",
            "eks:eks-cluster-name": self._cluster.name,
            NODE_POOL: labels_of(claim).get(NODE_POOL, ""),
            NODE_CLASS: name_of(node_class),
            "karpenter.sh/nodeclaim": name_of(claim),
        }
        return await self._state.cloud.launch(
            offerings, {"data": data, "subnets": subnets, "class": name_of(node_class)}, tags
        )

    async def _launched(self, claim: Object, launched: Launched) -> None:
        state, kind = self._state, instance_type(launched.type)
        offering = Offering(kind, launched.zone, launched.capacity_type, 0.0)
        state.alive[launched.instance] = state.world.now()
        log.info(
            "launched nodeclaim %s: %s, %s, %s, %s",
            name_of(claim),
            launched.instance,
            launched.type,
            launched.zone,
            launched.capacity_type,
        )
        status = conditioned(claim, "Launched", "True", state.now()) | {
            "providerID": f"aws:///{launched.zone}/{launched.instance}",
            "capacity": resources(kind, allocatable=False),
            "allocatable": resources(kind, allocatable=True),
        }
        # Labels first: a claim that says it is launched has them. Stopped in between, the instance is an orphan and goes.
        labels = {"metadata": {"labels": {**offering.labels(), **labels_of(claim)}}}
        await state.world.write(COMPONENT, Patch(NODE_CLAIMS, claim, labels))
        await state.set_status(claim, self._rooted(claim, status))

    # --- registered and initialized

    async def _register(self, claim: Object) -> Object:
        state, node = self._state, self._state.node_of(claim)
        if node is None:
            lacking = ("NodeNotFound", "Node not registered with cluster")
            return await self._progress(claim, "Registered", lacking)
        await state.world.write(COMPONENT, Patch(NODES, node, registered_node(node, claim)))
        log.info("registered nodeclaim %s: %s", name_of(claim), name_of(node))
        return await self._progress(claim, "Registered", None, {"nodeName": name_of(node)})

    async def _initialize(self, claim: Object) -> Object:
        node = self._state.node_of(claim)
        if node is None:
            return claim
        lacking = not_initialized(node, claim)
        if lacking is None:
            body = {"metadata": {"labels": {INITIALIZED: "true"}}}
            await self._state.world.write(COMPONENT, Patch(NODES, node, body))
            log.info("initialized nodeclaim %s", name_of(claim))
        return await self._progress(claim, "Initialized", lacking)

    async def _progress(
        self, claim: Object, step: str, lacking: tuple[str, str] | None, more: Object | None = None
    ) -> Object:
        """The claim with one condition set: true, or unknown with what it lacks."""
        state = self._state
        if lacking is None:
            status = conditioned(claim, step, "True", state.now())
        else:
            status = conditioned(claim, step, "Unknown", state.now(), reason=lacking[0], message=lacking[1])
            before = condition_of(claim, step)
            if before and (before["reason"], before["message"]) == lacking:
                return claim
        rooted = self._rooted(claim, status | (more or {}))
        await state.set_status(claim, rooted)
        return {**claim, "status": rooted}

    def _rooted(self, claim: Object, status: Object) -> Object:
        """Every step has a condition from the beginning, and Ready follows from them."""
        now = self._state.now()
        for step in STEPS:
            if condition_of({"status": status}, step) is None:
                waiting = {"reason": "AwaitingReconciliation", "message": "object is awaiting reconciliation"}
                status = conditioned({**claim, "status": status}, step, "Unknown", now, **waiting)
        return with_root({**claim, "status": status}, STEPS, now)


def _image_for(offering: Offering, images: list[Object]) -> str:
    """The first image whose requirements the type meets. Raises LaunchFailed."""
    for image in images:
        if satisfies(offering.labels(), image.get("requirements") or []):
            return str(image["id"])
    raise LaunchFailed(f"no amis exist given constraints for {offering.type.name}")


def _metadata_options(options: Object) -> Object:
    """EC2's spelling; the defaults are the EC2NodeClass' own."""
    return {
        "HttpEndpoint": options.get("httpEndpoint", "enabled"),
        "HttpTokens": options.get("httpTokens", "required"),
        "HttpPutResponseHopLimit": int(options.get("httpPutResponseHopLimit", 1)),
    }

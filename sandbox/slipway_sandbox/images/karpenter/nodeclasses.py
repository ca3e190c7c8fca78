"""EC2NodeClasses: subnets, security groups, images and the instance profile their selectors find, and whether that is enough."""

from __future__ import annotations

import hashlib
import logging

from botocore.exceptions import ClientError

from slipway_sandbox.controllers.objects import Object, condition_is, is_deleting, name_of, status_of
from slipway_sandbox.controllers.writes import Patch
from slipway_sandbox.images.karpenter.discovery import Discovery
from slipway_sandbox.images.karpenter.resources import (
    CLASS_FINALIZER,
    NODE_CLAIMS,
    NODE_CLASSES,
    conditioned,
    with_root,
)
from slipway_sandbox.images.karpenter.state import COMPONENT, State

log = logging.getLogger("karpenter")
PARTS = ("ValidationSucceeded", "AMIsReady", "SubnetsReady", "SecurityGroupsReady", "InstanceProfileReady")
# what a selector finds -> the condition, reason and message where it finds nothing
NOT_FOUND = {
    "amis": ("AMIsReady", "AMINotFound", "AMISelector did not match any AMIs"),
    "subnets": ("SubnetsReady", "SubnetsNotFound", "SubnetSelector did not match any Subnets"),
    "securityGroups": (
        "SecurityGroupsReady",
        "SecurityGroupsNotFound",
        "SecurityGroupSelector did not match any SecurityGroups",
    ),
}
REFRESH_SECONDS = 60.0  # settings.subnetRefreshInterval, amiRefreshInterval


class NodeClasses:
    """`step` looks a class up in AWS when it is new or changed, and again every REFRESH_SECONDS; sooner while it is not ready."""

    def __init__(self, state: State, version: str) -> None:
        self._state, self._version = state, version
        self._discovery = Discovery(state.cloud)
        self._looked: dict[str, tuple[int, float]] = {}

    async def step(self, node_class: Object, clock: float) -> None:
        if is_deleting(node_class):
            await self._end(node_class)
            return
        uid, generation = node_class["metadata"]["uid"], int(node_class["metadata"].get("generation") or 0)
        ready = condition_is(node_class, "Ready")
        before, at = self._looked.get(uid, (-1, 0.0))
        if before == generation and clock - at < (REFRESH_SECONDS if ready else 2.0):
            return
        finalizers = node_class["metadata"].get("finalizers") or []
        if CLASS_FINALIZER not in finalizers:
            body = {"metadata": {"finalizers": [*finalizers, CLASS_FINALIZER]}}
            await self._state.world.write(COMPONENT, Patch(NODE_CLASSES, node_class, body))
        status = await self._look(node_class)
        if status != status_of(node_class):
            await self._state.world.write(
                COMPONENT, Patch(NODE_CLASSES, node_class, {"status": status}, "status")
            )
        self._looked[uid] = (generation, clock)

    async def _look(self, node_class: Object) -> Object:
        spec, discovery, now = node_class["spec"], self._discovery, self._state.now()
        found: Object = {
            "amis": await discovery.images(spec["amiSelectorTerms"], self._version),
            "subnets": await discovery.subnets(spec["subnetSelectorTerms"]),
            "securityGroups": await discovery.security_groups(spec["securityGroupSelectorTerms"]),
        }
        profile = spec.get("instanceProfile") or self._profile_name(node_class)
        trouble = ""
        if not spec.get("instanceProfile"):
            trouble = await self._ensure_profile(profile, node_class)
        if not trouble:
            found["instanceProfile"] = profile
        lacking = {part: why for key, (part, *why) in NOT_FOUND.items() if not found[key]}
        if trouble:
            lacking["InstanceProfileReady"] = ["InstanceProfileCreationFailed", trouble]
        kept = {k: v for k, v in status_of(node_class).items() if k != "instanceProfile"}
        item = {**node_class, "status": {**kept, **found}}
        for part in PARTS:
            reason, message = lacking.get(part) or ("", "")
            item["status"] = conditioned(
                item, part, "False" if reason else "True", now, reason=reason, message=message
            )
        return with_root(item, PARTS, now)

    async def _ensure_profile(self, name: str, node_class: Object) -> str:
        """What is wrong with the role; empty where the profile is there."""
        cluster = self._state.cloud.cluster
        tags = {
            f"kubernetes.io/cluster/{cluster}": "owned",
            "eks:eks-cluster-name": cluster,
            "karpenter.k8s.aws/ec2nodeclass": name_of(node_class),
            "topology.kubernetes.io/region": self._state.cloud.region,
        }
        try:
            await self._discovery.ensure_profile(name, node_class["spec"].get("role", ""), tags)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            return str(error)
        return ""

    def _profile_name(self, node_class: Object) -> str:
        digest = hashlib.sha256(f"{self._state.cloud.cluster}{name_of(node_class)}".encode()).digest()
        return f"{self._state.cloud.cluster}_{int.from_bytes(digest[:8], 'big')}"

    async def _end(self, node_class: Object) -> None:
        """Its profile and launch templates go, once no NodeClaim uses the class."""
        finalizers = node_class["metadata"].get("finalizers") or []
        claims = self._state.world.store(NODE_CLAIMS)
        used = any(c["spec"]["nodeClassRef"]["name"] == name_of(node_class) for c in claims)
        if CLASS_FINALIZER not in finalizers or used:
            return
        if not node_class["spec"].get("instanceProfile"):
            await self._discovery.delete_profile(self._profile_name(node_class))
        await self._state.cloud.delete_launch_templates(name_of(node_class))
        self._looked.pop(node_class["metadata"]["uid"], None)
        body = {"metadata": {"finalizers": [f for f in finalizers if f != CLASS_FINALIZER]}}
        await self._state.world.write(COMPONENT, Patch(NODE_CLASSES, node_class, body))

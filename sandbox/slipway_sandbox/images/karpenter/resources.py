"""Karpenter's kinds, and the keys it writes on nodes."""

from __future__ import annotations

import re

from slipway_sandbox.controllers.objects import Object, Resource, condition_of, status_of, with_condition

NODE_POOLS = Resource("karpenter.sh/v1", "nodepools", "NodePool", namespaced=False)
NODE_CLAIMS = Resource("karpenter.sh/v1", "nodeclaims", "NodeClaim", namespaced=False)
NODE_CLASSES = Resource("karpenter.k8s.aws/v1", "ec2nodeclasses", "EC2NodeClass", namespaced=False)

FINALIZER = "karpenter.sh/termination"
CLASS_FINALIZER = "karpenter.k8s.aws/termination"
REGISTERED, INITIALIZED = "karpenter.sh/registered", "karpenter.sh/initialized"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
TERMINATION_TIME = "karpenter.sh/nodeclaim-termination-timestamp"
UNREGISTERED_TAINT: Object = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}
DISRUPTED_TAINT: Object = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
# Taints that go by themselves while a node starts (pkg/scheduling/taints.go).
EPHEMERAL_TAINTS = (
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoSchedule"),
    ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
    (UNREGISTERED_TAINT["key"], UNREGISTERED_TAINT["effect"]),
)

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds_of(duration: str | None) -> float | None:
    """A metav1.Duration in seconds; None for `Never` and where there is none. Raises ValueError."""
    if duration in (None, "", "Never"):
        return None
    text = str(duration)
    parts = _PART.findall(text)
    if "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f'time: invalid duration "{text}"')
    return sum(float(amount) * _SECONDS[unit] for amount, unit in parts)


def same_taint(one: Object, other: Object) -> bool:
    """v1.Taint.MatchTaint: by key and effect."""
    return (one["key"], one["effect"]) == (other["key"], other["effect"])


def said_taint(taint: Object) -> str:
    """key=value:effect (pkg/utils/pretty, Taint)."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def conditioned(
    item: Object, kind: str, status: str, now: str, *, reason: str = "", message: str = ""
) -> Object:
    """The item's status with one condition set as operatorpkg sets them: a true one's reason is its own name."""
    condition = {
        "type": kind,
        "status": status,
        "reason": reason or kind,
        "message": message,
        "observedGeneration": int(item["metadata"].get("generation") or 0),
        "lastTransitionTime": now,
    }
    before = status_of(item)
    return {**before, "conditions": with_condition(before.get("conditions") or [], condition)}


def with_root(item: Object, dependents: tuple[str, ...], now: str) -> Object:
    """The item's status with `Ready` made of the conditions it depends on."""
    states = {kind: (condition_of(item, kind) or {}).get("status", "Unknown") for kind in dependents}
    lacking = {kind: status for kind, status in states.items() if status != "True"}
    if not lacking:
        return conditioned(item, "Ready", "True", now)
    false = "False" in lacking.values()
    return conditioned(
        item,
        "Ready",
        "False" if false else "Unknown",
        now,
        reason="UnhealthyDependents" if false else "ReconcilingDependents",
        message=", ".join(f"{kind}={status}" for kind, status in lacking.items()),
    )

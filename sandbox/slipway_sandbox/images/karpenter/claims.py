"""NodeClaims: made of a draft, launched as an instance, recognized as a node. Pure functions on objects."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import yaml

from slipway_sandbox.controllers.objects import Object, condition_is, labels_of, status_of
from slipway_sandbox.images.karpenter.offerings import (
    CAPACITY_TYPE,
    NODE_POOL,
    ON_DEMAND,
    SPOT,
    TYPE,
    ZONE,
    Offering,
    is_well_known,
    satisfies,
)
from slipway_sandbox.images.karpenter.packing import Draft
from slipway_sandbox.images.karpenter.resources import (
    EPHEMERAL_TAINTS,
    FINALIZER,
    REGISTERED,
    UNREGISTERED_TAINT,
    said_taint,
    same_taint,
)


@dataclass(frozen=True)
class Cluster:
    """What a node must know to join."""

    name: str
    endpoint: str
    authority: str  # PEM, base64
    cidr: str


def claim_of(draft: Draft) -> Object:
    """The NodeClaim for a draft, named by the API server after its NodePool."""
    pool, template = draft.pool, draft.pool.template
    metadata = pool.raw["spec"]["template"].get("metadata") or {}
    owner = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "name": pool.name,
        "uid": pool.raw["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    spec: Object = {
        "nodeClassRef": template["nodeClassRef"],
        "requirements": _requirements(draft),
        "resources": {"requests": {name: str(amount) for name, amount in draft.requests.items()}},
    }
    for field in ("taints", "startupTaints", "expireAfter", "terminationGracePeriod"):
        if field in template:
            spec[field] = template[field]
    annotations = {**(metadata.get("annotations") or {}), "karpenter.sh/nodepool-hash": pool_hash(pool.raw)}
    return {
        "metadata": {
            "generateName": f"{pool.name}-",
            "labels": draft.labels,
            "annotations": annotations,
            "finalizers": [FINALIZER],
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def _requirements(draft: Draft) -> list[Object]:
    """The NodePool's, narrowed to what the pods left over."""
    offerings = draft.offerings
    narrowed = {
        TYPE: list(dict.fromkeys(o.type.name for o in offerings)),
        ZONE: sorted({o.zone for o in offerings}),
        CAPACITY_TYPE: sorted({o.capacity_type for o in offerings}),
        NODE_POOL: [draft.pool.name],
    }
    kept = [
        {key: value for key, value in r.items() if key != "minValues"}
        for r in draft.pool.template["requirements"]
        if r["key"] not in narrowed and is_well_known(r["key"])
    ]
    custom = {
        r["key"]: [draft.labels[r["key"]]]
        for r in draft.pool.template["requirements"]
        if r["key"] in draft.labels and r["key"] not in narrowed
    }
    made = [{"key": k, "operator": "In", "values": v} for k, v in (narrowed | custom).items()]
    return [*kept, *made]


def pool_hash(pool: Object) -> str:
    """Changes when what nodes are made from does."""
    template = json.dumps(pool["spec"]["template"], sort_keys=True)
    return str(int.from_bytes(hashlib.sha256(template.encode()).digest()[:8], "big"))


def launchable(claim: Object, offerings: Sequence[Offering]) -> list[Offering]:
    """What to ask EC2 for, the cheapest first: spot alone where spot is allowed and to be had, as Karpenter prefers it."""
    requirements = [r for r in claim["spec"]["requirements"] if is_well_known(r["key"])]
    labels = labels_of(claim)
    fitting = [o for o in offerings if satisfies({**labels, **o.labels()}, requirements)]
    spot = [o for o in fitting if o.capacity_type == SPOT]
    return sorted(
        spot or [o for o in fitting if o.capacity_type == ON_DEMAND], key=lambda o: (o.price, o.key)
    )


def user_data(claim: Object, labels: Mapping[str, str], cluster: Cluster, kubelet: Object) -> str:
    """Base64 of the MIME archive with the NodeConfig of an AL2023 node (pkg/providers/amifamily/bootstrap/nodeadm.go)."""
    taints = [
        UNREGISTERED_TAINT,
        *(claim["spec"].get("taints") or []),
        *(claim["spec"].get("startupTaints") or []),
    ]
    said = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    config = {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {
            "cluster": {
                "name": cluster.name,
                "apiServerEndpoint": cluster.endpoint,
                "certificateAuthority": cluster.authority,
                "cidr": cluster.cidr,
            },
            "kubelet": {
                "config": {**kubelet, "registerWithTaints": taints},
                "flags": [f'--node-labels="{said}"'],
            },
        },
    }
    archive = MIMEMultipart(boundary="//")
    part = MIMEText("# Karpenter Generated NodeConfig\n" + yaml.safe_dump(config), "plain", "us-ascii")
    part.replace_header("Content-Type", "application/node.eks.aws")
    archive.attach(part)
    return base64.b64encode(archive.as_bytes()).decode()


def registered_node(node: Object, claim: Object) -> Object:
    """A merge patch that makes the node the NodeClaim's: labels, annotations, taints, finalizer, owner."""
    metadata, spec = node["metadata"], claim["spec"]
    taints = list(node["spec"].get("taints") or [])
    for taint in (*(spec.get("taints") or []), *(spec.get("startupTaints") or [])):
        if not any(same_taint(taint, other) for other in taints):
            taints.append(taint)
    taints = [taint for taint in taints if not same_taint(taint, UNREGISTERED_TAINT)]
    owner = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "name": claim["metadata"]["name"],
        "uid": claim["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    owners = [o for o in metadata.get("ownerReferences") or [] if o["uid"] != owner["uid"]]
    finalizers = [f for f in metadata.get("finalizers") or [] if f != FINALIZER]
    return {
        "metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "labels": {**labels_of(claim), REGISTERED: "true"},
            "annotations": claim["metadata"].get("annotations") or {},
            "finalizers": [*finalizers, FINALIZER],
            "ownerReferences": [*owners, owner],
        },
        "spec": {"taints": taints},
    }


def not_initialized(node: Object, claim: Object) -> tuple[str, str] | None:
    """(reason, message) of what the node still lacks (pkg/controllers/nodeclaim/lifecycle/initialization.go)."""
    if not condition_is(node, "Ready"):
        return "NodeNotReady", "Node status is NotReady"
    taints = node["spec"].get("taints") or []
    for startup in claim["spec"].get("startupTaints") or []:
        if any(same_taint(startup, taint) for taint in taints):
            return "StartupTaintsExist", f'StartupTaint "{said_taint(startup)}" still exists'
    for taint in taints:
        if (taint["key"], taint["effect"]) in EPHEMERAL_TAINTS:
            return "KnownEphemeralTaintsExist", f'KnownEphemeralTaint "{said_taint(taint)}" still exists'
    have = status_of(node).get("allocatable") or {}
    asked: Mapping[str, Any] = (claim["spec"].get("resources") or {}).get("requests") or {}
    for name in asked:
        if name in status_of(claim).get("allocatable", {}) and str(have.get(name, "0")) == "0":
            return "ResourceNotRegistered", f'Resource "{name}" was requested but not registered'
    return None

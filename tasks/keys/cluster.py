"""Bring the ring of keys to the gateway: hashes for NGINX, Slipway's own key for the Jobs that ask it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until
from tasks.keys.decide import current, table
from tasks.keys.store import Kept
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.keys import OWN
from tasks.records.names import (
    CLIENTS_ANNOTATION,
    CLIENTS_SECRET,
    GATEWAY,
    KEY_ENTRY,
    OWN_KEY_SECRET,
)

# owns the one annotation of the gateway's pods that tells of their keys, and no other field
FIELD_MANAGER = "slipway-keys"


def secrets_of(environment: Environment, kept: Kept, now: datetime) -> list[Object]:
    """The Secrets of the gateway's table and of Slipway's own key. Pure."""
    namespace = environment.namespace
    clients = json.dumps(table(kept.ring, now, environment.gateway.replicas), sort_keys=True)
    digest = hashlib.sha256(clients.encode()).hexdigest()[:16]
    return [
        _secret(namespace, OWN_KEY_SECRET, {KEY_ENTRY: current(kept.ring, OWN).value}, {}),
        _secret(namespace, CLIENTS_SECRET, {"keys.json": clients}, {CLIENTS_ANNOTATION: digest}),
    ]


def apply(cluster: Cluster, environment: Environment, kept: Kept, now: datetime) -> bool:
    """Write the Secrets, and roll the gateway out where its pods have other keys; whether there is a gateway.

    False without the namespace too: there is nothing to bring keys to.
    """
    namespace = environment.namespace
    if cluster.get("v1", "Namespace", namespace) is None:
        return False
    documents = secrets_of(environment, kept, now)
    for document in documents:
        cluster.apply(document)
    workload = cluster.get("apps/v1", "Deployment", GATEWAY, namespace)
    if workload is None:
        return False
    wanted = objects.annotations(documents[-1])[CLIENTS_ANNOTATION]
    if objects.annotations(objects.pod_template(workload)).get(CLIENTS_ANNOTATION) != wanted:
        template = {"metadata": {"annotations": {CLIENTS_ANNOTATION: wanted}}}
        cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": GATEWAY, "namespace": namespace},
                "spec": {"template": template},
            },
            field_manager=FIELD_MANAGER,
        )
    return True


def wait_until_applied(cluster: Cluster, environment: Environment, time: Time = REAL) -> None:
    """Wait until no gateway pod with other keys takes requests. Raises RolloutFailed after `deadlines.gateway`."""
    namespace = environment.namespace

    def complete() -> bool:
        return objects.is_complete(cluster.get("apps/v1", "Deployment", GATEWAY, namespace))

    def late() -> RolloutFailed:
        return RolloutFailed(
            "the keys are written, and the gateway's pods do not come up with them: the old ones serve on",
            evidence=cluster.events(namespace, GATEWAY)[-5:],
            next_command=f"kubectl -n {namespace} describe deployment {GATEWAY}",
        )

    until(complete, environment.deadlines.gateway, late, time)


def _secret(namespace: str, name: str, data: dict[str, str], annotations: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "type": "Opaque",
        "stringData": data,
    }

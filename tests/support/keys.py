"""Keys of a gateway in a cluster, where no Secrets Manager has any."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.cloud.kubernetes import Cluster
from tasks.keys import cluster, decide
from tasks.keys.store import Kept
from tasks.records.keys import KeyRing
from tasks.rollout import gateway
from tests.support.builders import an_environment


def bring_keys(api: Cluster, namespace: str) -> None:
    """Slipway's own key at the gateway, and the one between gateway and vLLM: what a deploy brings before a rollout."""
    now = datetime.now(UTC)
    gateway.ensure_engine_key(api, namespace)
    environment = an_environment(namespace=namespace)
    cluster.apply(api, environment, Kept(decide.with_own(KeyRing(), "sk-own-key-of-a-test", now), "1"), now)

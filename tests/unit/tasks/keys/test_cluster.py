from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import kubernetes_validate

from tasks.keys import cluster, decide
from tasks.keys.store import Kept
from tasks.records.keys import ApiKey, KeyRing
from tasks.records.names import CLIENTS_ANNOTATION, CLIENTS_SECRET, GATEWAY, OWN_KEY_SECRET
from tests.support.builders import an_environment

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Recording:
    """A cluster with these objects by kind and name, and what is applied to it."""

    def __init__(self, **objects: dict[str, Any]) -> None:
        self.objects, self.applied = objects, list[tuple[str, dict[str, Any]]]()

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Any:
        return self.objects.get(kind)

    def apply(self, document: dict[str, Any], *, field_manager: str = "slipway") -> None:
        self.applied.append((field_manager, document))


def a_ring(*values: str) -> Kept:
    ring = decide.with_own(KeyRing(), "sk-own", NOW)
    for value in values:
        ring = decide.add(ring, ApiKey(name=value.removeprefix("sk-"), value=value, created=NOW))
    return Kept(ring, "1")


def gateway_with(keys: str) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": {CLIENTS_ANNOTATION: keys}}}}}


def apply(api: Any, kept: Kept) -> bool:
    return cluster.apply(api, an_environment(), kept, NOW)


def digest_of(kept: Kept) -> str:
    [_, clients] = cluster.secrets_of(an_environment(), kept, NOW)
    return str(clients["metadata"]["annotations"][CLIENTS_ANNOTATION])


def test_clients_keys_reach_the_cluster_as_hashes_only() -> None:
    own, clients = cluster.secrets_of(an_environment(), a_ring("sk-team"), NOW)
    assert (own["metadata"]["name"], own["stringData"]) == (OWN_KEY_SECRET, {"api-key": "sk-own"})
    assert clients["metadata"]["name"] == CLIENTS_SECRET
    assert "sk-" not in str(clients)
    for document in (own, clients):
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_other_keys_roll_the_gateway_out_and_the_same_ones_do_not() -> None:
    kept = a_ring("sk-team")
    there = Recording(Namespace={}, Deployment=gateway_with(digest_of(kept)))
    assert apply(there, kept)
    assert [document["kind"] for _, document in there.applied] == ["Secret", "Secret"]
    other = Recording(Namespace={}, Deployment=gateway_with(digest_of(a_ring())))
    assert apply(other, kept)
    manager, rolled = other.applied[-1]
    assert (manager, rolled["kind"], rolled["metadata"]["name"]) == ("slipway-keys", "Deployment", GATEWAY)
    assert rolled["spec"] == gateway_with(digest_of(kept))["spec"]


def test_without_a_gateway_the_keys_wait_for_it_in_the_namespace() -> None:
    there = Recording(Namespace={})
    assert not apply(there, a_ring())
    assert len(there.applied) == 2


def test_without_a_namespace_nothing_is_written() -> None:
    nothing = Recording()
    assert not apply(nothing, a_ring())
    assert nothing.applied == []

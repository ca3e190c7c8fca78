"""The store against moto's Secrets Manager, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws

from tasks.cloud.aws import Aws
from tasks.cloud.waiting import Time
from tasks.keys import decide
from tasks.keys.store import Kept, KeyStore
from tasks.records.errors import CloudError, NothingDeployed, UnknownName
from tasks.records.keys import ApiKey, KeyRing
from tests.support.builders import an_environment
from tests.support.clock import Clock

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield Aws("eu-central-1")


@pytest.fixture
def store(aws: Aws) -> KeyStore:
    """A store whose secret has no value yet, as terraform makes it."""
    clock = Clock()
    found = KeyStore(aws, an_environment(), Time(clock, clock.sleep))
    aws.client("secretsmanager").create_secret(Name=found.secret)
    return found


def adds(name: str) -> Callable[[KeyRing], KeyRing]:
    return lambda ring: decide.add(ring, ApiKey(name=name, value=f"sk-{name}", created=NOW))


def names(store: KeyStore) -> list[str]:
    return [key.name for key in store.read().ring.keys]


def test_what_is_written_is_read_again(store: KeyStore) -> None:
    assert store.read() == (KeyRing(), None)
    first = store.change(adds("a"))
    assert store.read() == first
    assert store.change(adds("b")).version != first.version
    assert names(store) == ["a", "b"]


def test_a_change_that_changes_nothing_writes_no_version(store: KeyStore) -> None:
    before = store.change(adds("a"))
    assert store.change(lambda ring: ring) == before


@pytest.mark.parametrize("there", [(), ("first",)])
def test_of_two_changes_at_once_none_is_lost(store: KeyStore, aws: Aws, there: tuple[str, ...]) -> None:
    for name in there:
        store.change(adds(name))
    other = KeyStore(aws, an_environment())
    met: list[Kept] = []

    def while_another_writes(ring: KeyRing) -> KeyRing:
        if not met:
            met.append(other.change(adds("other")))
        return adds("mine")(ring)

    store.change(while_another_writes)
    assert names(store) == [*there, "other", "mine"]


def test_no_label_but_those_of_secrets_manager_is_left(store: KeyStore, aws: Aws) -> None:
    for name in ("a", "b", "c"):
        store.change(adds(name))
    shown = aws.client("secretsmanager").describe_secret(SecretId=store.secret)
    assert {label for labels in shown["VersionIdsToStages"].values() for label in labels} <= {
        "AWSCURRENT",
        "AWSPREVIOUS",
    }


def test_a_change_that_is_refused_writes_nothing(store: KeyStore) -> None:
    before = store.change(adds("a"))
    with pytest.raises(UnknownName):
        store.change(lambda ring: decide.revoke(ring, "b"))
    assert store.read() == before


def test_without_the_secret_a_deploy_is_asked_for(aws: Aws) -> None:
    with pytest.raises(NothingDeployed, match="has no secret for API keys yet") as caught:
        KeyStore(aws, an_environment()).read()
    assert caught.value.next_command


@pytest.mark.parametrize(
    "text", ["sk-somebodys", '{"format": 1, "keys": [{"name": "a", "value": "sk-somebodys"}]}']
)
def test_a_secret_that_somebody_else_wrote_is_refused_without_being_quoted(
    store: KeyStore, aws: Aws, text: str
) -> None:
    client: Any = aws.client("secretsmanager")
    client.put_secret_value(SecretId=store.secret, SecretString=text)
    with pytest.raises(CloudError) as caught:
        store.read()
    assert "sk-somebodys" not in str(caught.value)

"""The gateway's keys as Prefect tasks. No task takes or returns the value of a key."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tasks.keys import cluster, decide
from tasks.keys.store import KeyStore
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.keys import OWN, ApiKey, KeyChange, KeyRing, ShownKey
from tasks.site import Site, aws_of
from tasks.task import SETTINGS, RunReporter, task

# others may write keys while they are brought to the gateway: each of them brings its own
ROUNDS = 5


def _new_value() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


def _now() -> datetime:
    return datetime.now(UTC)


def _with_own(change: Callable[[KeyRing], KeyRing]) -> Callable[[KeyRing], KeyRing]:
    """The change, on a ring that has Slipway's own key."""
    return lambda ring: change(decide.with_own(ring, _new_value(), _now()))


@task(task_run_name="keys of {site.name}", **SETTINGS)
def sync_keys(site: Site) -> int:
    """Bring the keys to the cluster, without those that have expired; Slipway's own is made where there is none.

    How many the gateway takes. Its pods follow by a rollout, which is not waited for.
    """
    kept = KeyStore(site.aws(), site.environment).change(_with_own(lambda ring: ring))
    now = _now()
    cluster.apply(site.cluster(), site.environment, kept, now)
    for key in kept.ring.keys:
        if key.is_expired(now) and not key.replaced:
            RunReporter("keys").say(f"{key.name} expired {key.expires:%Y-%m-%d %H:%M} UTC")
    return len(decide.table(kept.ring, now))


@task(task_run_name="key {name} of {environment.name}", **SETTINGS)
def add_key(
    environment: Environment,
    name: str,
    models: tuple[str, ...] = (),
    lasts: float | None = None,
    requests_per_minute: int | None = None,
) -> ShownKey:
    """Make a key. `lasts`: seconds until it expires. Raises InputError where the name is taken."""
    if name == OWN:
        raise InputError(f"{OWN} is Slipway's own key", next_command="choose another name")
    now = _now()
    key = ApiKey(
        name=name,
        value=_new_value(),
        models=models,
        created=now,
        expires=now + timedelta(seconds=lasts) if lasts else None,
        requests_per_minute=requests_per_minute,
    )
    KeyStore(aws_of(environment), environment).change(_with_own(lambda ring: decide.add(ring, key)))
    return decide.shown(key, now)


@task(task_run_name="rotate key {name} of {environment.name}", **SETTINGS)
def rotate_key(environment: Environment, name: str, overlap: float) -> ShownKey:
    """Give a key a new value; the old one opens for `overlap` seconds more. Raises UnknownName."""
    now, value = _now(), _new_value()
    kept = KeyStore(aws_of(environment), environment).change(
        _with_own(lambda ring: decide.rotate(ring, name, value, now, timedelta(seconds=overlap)))
    )
    return decide.shown(decide.current(kept.ring, name), now)


@task(task_run_name="revoke key {name} of {environment.name}", **SETTINGS)
def revoke_key(environment: Environment, name: str) -> ShownKey:
    """Take a key away with all its values. Raises UnknownName, InputError for Slipway's own."""
    gone: list[ApiKey] = []

    def without(ring: KeyRing) -> KeyRing:
        gone[:] = [one for one in ring.keys if one.name == name]
        return decide.revoke(ring, name)

    KeyStore(aws_of(environment), environment).change(_with_own(without))
    return decide.shown(gone[-1], _now())


@task(task_run_name="keys of {site.name} at the gateway", **SETTINGS)
def keys_to_gateway(site: Site) -> bool:
    """Bring the keys to the gateway and wait until all its pods have them; False where there is no gateway yet.

    What is written is read again after it: of two runs the one that ends last has brought the newest keys.
    """
    store, api = KeyStore(site.aws(), site.environment), site.cluster()
    there = False
    for _ in range(ROUNDS):
        kept = store.read()
        there = cluster.apply(api, site.environment, kept, _now())
        if not there or store.read().version == kept.version:
            break
    if there:
        cluster.wait_until_applied(api, site.environment)
    return there


def list_keys(environment: Environment) -> list[ShownKey]:
    """Every key without its value, by name, the newest value first."""
    now = _now()
    ring = KeyStore(aws_of(environment), environment).read().ring
    newest = sorted(ring.keys, key=lambda key: key.created, reverse=True)
    return [decide.shown(key, now) for key in sorted(newest, key=lambda key: key.name)]


def key_value(environment: Environment, name: str) -> str:
    """The newest value of a key. Raises UnknownName."""
    return decide.current(KeyStore(aws_of(environment), environment).read().ring, name).value


def secret_of(environment: Environment) -> str:
    """The name of the secret that holds the keys."""
    return KeyStore(aws_of(environment), environment).secret


def changed(environment: Environment, key: ShownKey, at_the_gateway: bool) -> KeyChange:
    """What a change came to, for whoever asked for it."""
    return KeyChange(key=key, secret=secret_of(environment), at_the_gateway=at_the_gateway)

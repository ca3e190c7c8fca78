"""Change a ring of keys, and write it as the gateway reads it. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from tasks.records.errors import InputError, UnknownName
from tasks.records.keys import OWN, ApiKey, KeyRing, ShownKey

# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html: bytes of one secret's value
LARGEST = 65_536


def add(ring: KeyRing, key: ApiKey) -> KeyRing:
    """The ring with a key of a new name. Raises InputError where the name is taken."""
    if any(one.name == key.name for one in ring.keys):
        raise InputError(
            f"there is a key {key.name} already",
            next_command=f"slipway keys rotate {key.name}, or another name",
        )
    return _checked((*ring.keys, key))


def with_own(ring: KeyRing, value: str, now: datetime) -> KeyRing:
    """The ring with the key that gate and load ask with; the same ring where it has one."""
    if any(one.name == OWN and not one.replaced for one in ring.keys):
        return ring
    return add(ring, ApiKey(name=OWN, value=value, created=now))


def rotate(ring: KeyRing, name: str, value: str, now: datetime, overlap: timedelta) -> KeyRing:
    """The ring where `name` has a new value, and the old one expires after `overlap`, or sooner where it would anyway.

    The new value keeps the models and the limit, and the time that the old one was valid for. Raises UnknownName.
    """
    old = current(ring, name)
    lasts = old.expires - old.created if old.expires else None
    new = old.model_copy(update={"value": value, "created": now, "expires": now + lasts if lasts else None})
    end = min(now + overlap, old.expires) if old.expires else now + overlap
    replaced = old.model_copy(update={"replaced": True, "expires": end})
    kept = [one for one in ring.keys if one is not old and not (one.replaced and one.is_expired(now))]
    return _checked((*kept, replaced, new))


def revoke(ring: KeyRing, name: str) -> KeyRing:
    """The ring without every value of `name`. Raises UnknownName, InputError for the key Slipway asks with."""
    current(ring, name)
    if name == OWN:
        raise InputError(
            f"{OWN} is the key that readiness gate and load validation ask with",
            next_command=f"slipway keys rotate {OWN} --overlap 0s",
        )
    return KeyRing(keys=tuple(one for one in ring.keys if one.name != name))


def current(ring: KeyRing, name: str) -> ApiKey:
    """The newest value of a name. Raises UnknownName."""
    found = [one for one in ring.keys if one.name == name and not one.replaced]
    if not found:
        known = sorted({one.name for one in ring.keys})
        raise UnknownName(
            f"there is no key {name!r}",
            evidence=[f"there are: {', '.join(known) or 'none'}"],
            next_command="slipway keys list",
        )
    return found[-1]


def shown(key: ApiKey, now: datetime) -> ShownKey:
    """A key without its value."""
    return ShownKey(
        name=key.name,
        models=key.models,
        created=key.created,
        expires=key.expires,
        requests_per_minute=key.requests_per_minute,
        state="expired" if key.is_expired(now) else "replaced" if key.replaced else "valid",
    )


def table(ring: KeyRing, now: datetime, replicas: int = 1) -> dict[str, dict[str, Any]]:
    """What the gateway reads: the sha256 of each key that has not expired -> name, models (None: every one), end (ms since 1970, or 0).

    `replicas`: of the gateway. Each counts by itself, so each gets that part of a limit.
    """
    return {
        hashlib.sha256(key.value.encode()).hexdigest(): {
            "name": key.name,
            "models": dict.fromkeys(key.models, True) or None,
            "expires": int(key.expires.timestamp() * 1000) if key.expires else 0,
            **_limit(key, replicas),
        }
        for key in ring.keys
        if not key.is_expired(now)
    }


def _limit(key: ApiKey, replicas: int) -> dict[str, int]:
    """Left out where there is none: the table of keys without limits stays as it was, and rolls no gateway out."""
    return {"perMinute": max(1, key.requests_per_minute // replicas)} if key.requests_per_minute else {}


def _checked(keys: tuple[ApiKey, ...]) -> KeyRing:
    ring = KeyRing(keys=keys)
    size = len(ring.model_dump_json().encode())
    if size > LARGEST:
        raise InputError(
            f"too many keys: {size:,} bytes, and a secret in Secrets Manager holds {LARGEST:,}",
            next_command="slipway keys list, then slipway keys revoke NAME",
        )
    return ring

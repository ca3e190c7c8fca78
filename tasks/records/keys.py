"""API keys of the gateway, as they are kept in Secrets Manager and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from tasks.records.record import Record

KEY_NAME = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
# the key that the readiness gate and the load validation ask with
OWN = "slipway"

KeyName = Annotated[str, Field(pattern=KEY_NAME, title="Key", description="the key's name")]


class ApiKey(Record):
    """One value of a named key. A rotated name has two until the overlap has passed."""

    name: str = Field(pattern=KEY_NAME)
    value: str = Field(repr=False)
    models: tuple[str, ...] = Field((), description="the only models it opens; none: every one")
    created: datetime
    expires: datetime | None = None
    requests_per_minute: int | None = Field(
        None, ge=1, description="more are refused with 429; none: no limit"
    )
    replaced: bool = Field(False, description="whether a rotation made a newer value")

    def is_expired(self, now: datetime) -> bool:
        """Whether the gateway refuses it."""
        return self.expires is not None and self.expires <= now


class KeyRing(Record):
    """All keys of an environment: the document in Secrets Manager."""

    format: Literal[1] = 1
    keys: tuple[ApiKey, ...] = ()


class ShownKey(Record):
    """A key without its value."""

    name: str
    models: tuple[str, ...]
    created: datetime
    expires: datetime | None
    requests_per_minute: int | None = None
    state: Literal["valid", "replaced", "expired"]


class KeyChange(Record):
    """What a change of keys did: the key as it is now, and where it has come to."""

    key: ShownKey
    secret: str = Field(description="the secret in Secrets Manager that holds the value")
    at_the_gateway: bool = Field(description="whether the gateway has it; else the next deploy brings it")

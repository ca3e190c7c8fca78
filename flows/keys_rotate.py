"""Keys rotate: give a key a new value; the old one opens a while longer, so that no request is refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.run.choices import EnvironmentName
from flows.run.keys import Duration, at_the_gateway, environment_of, seconds_of
from flows.run.runbook import runbook
from tasks.keys.task import changed, rotate_key
from tasks.records.keys import KeyChange, KeyName


@runbook(name="slipway-keys-rotate", run_name="rotate key {name} of {environment}")
def keys_rotate(
    name: KeyName,
    environment: EnvironmentName,
    overlap: Annotated[Duration, Field(description="how long the old value opens beside the new one")] = "1h",
) -> KeyChange:
    """Give a key a new value.

    The old one opens for the overlap; with 0s it is refused as soon as the gateway has the new one.
    """
    where = environment_of(environment)
    key = rotate_key(where, name, seconds_of(overlap, "overlap") or 0.0)
    return changed(where, key, at_the_gateway(where))

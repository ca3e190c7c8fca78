"""Keys add: make a key of the gateway, and bring it there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.run.choices import EnvironmentName
from flows.run.keys import Duration, at_the_gateway, environment_of, seconds_of
from flows.run.runbook import runbook
from tasks.keys.task import add_key, changed
from tasks.records.catalogue import load_model
from tasks.records.keys import KeyChange, KeyName


@runbook(name="slipway-keys-add", run_name="key {name} of {environment}")
def keys_add(
    name: KeyName,
    environment: EnvironmentName,
    models: Annotated[
        list[str], Field(description="the only models it opens, as a,b or one by one; default: every one")
    ] = [],  # noqa: B006  Prefect reads a form's default from it, and nothing changes it
    expires: Annotated[
        Duration, Field(description="how long it opens, as 12h or 30d; default: for ever")
    ] = None,
    requests_per_minute: Annotated[
        int | None, Field(ge=1, description="more than these are refused with 429; default: no limit")
    ] = None,
) -> KeyChange:
    """Make an API key of the gateway.

    Its value is in Secrets Manager and nowhere else: `slipway keys show` prints it.
    """
    where = environment_of(environment)
    chosen = tuple(one for text in models for one in text.split(",") if one)
    for one in chosen:
        load_model(one)
    key = add_key(where, name, chosen, seconds_of(expires, "expires"), requests_per_minute)
    return changed(where, key, at_the_gateway(where))

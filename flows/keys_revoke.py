"""Keys revoke: take a key away."""

from __future__ import annotations

from flows.run.choices import EnvironmentName
from flows.run.keys import at_the_gateway, environment_of
from flows.run.runbook import runbook
from tasks.keys.task import changed, revoke_key
from tasks.records.keys import KeyChange, KeyName


@runbook(name="slipway-keys-revoke", run_name="revoke key {name} of {environment}")
def keys_revoke(name: KeyName, environment: EnvironmentName) -> KeyChange:
    """Take a key away, with a value that a rotation left.

    When it has ended, every gateway pod that takes requests refuses it.
    """
    where = environment_of(environment)
    key = revoke_key(where, name)
    return changed(where, key, at_the_gateway(where))

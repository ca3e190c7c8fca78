"""Keys sync: bring the keys of Secrets Manager to the gateway, without those that have expired."""

from __future__ import annotations

from flows.run.choices import EnvironmentName
from flows.run.keys import environment_of
from flows.run.runbook import runbook
from tasks.infra.task import read_infrastructure
from tasks.keys.task import keys_to_gateway, sync_keys


@runbook(name="slipway-keys-sync", run_name="keys of {environment} to its gateway")
def keys_sync(environment: EnvironmentName) -> int:
    """Bring the API keys to the gateway, as a deploy does.

    For a change whose run ended before they were there, or that was made in Secrets Manager by hand.
    """
    site = read_infrastructure(environment_of(environment))
    valid = sync_keys(site)
    keys_to_gateway(site)
    return valid

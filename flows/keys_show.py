"""Keys show: the value of one key, on stdout alone. Not a flow: what a flow returns or says, Prefect may keep."""

from __future__ import annotations

from flows.run.choices import EnvironmentName
from flows.run.keys import environment_of
from tasks.keys.task import key_value
from tasks.records.keys import KeyName


def keys_show(name: KeyName, environment: EnvironmentName) -> str:
    """Print the value of an API key, as Secrets Manager has it.

    After a rotation it is the new one.
    """
    return key_value(environment_of(environment), name)

"""Keys list: every key of an environment, without its value. Not a flow."""

from __future__ import annotations

from flows.run.choices import EnvironmentName
from flows.run.keys import environment_of
from tasks.keys.task import list_keys
from tasks.records.keys import ShownKey


def keys_list(environment: EnvironmentName) -> list[ShownKey]:
    """List the API keys: what each opens, and how long.

    No value is shown.
    """
    return list_keys(environment_of(environment))

"""What the flows that change keys share."""

from __future__ import annotations

from tasks.infra.task import check_account, read_infrastructure
from tasks.keys.task import keys_to_gateway
from tasks.records.catalogue import load_environment
from tasks.records.environment import Environment
from tasks.records.errors import InputError, NothingDeployed
from tasks.records.quantities import parse_duration

Duration = str | None


def environment_of(name: str) -> Environment:
    """The environment of that name. Raises AccessDenied where the credentials are of another account."""
    environment = load_environment(name)
    check_account(environment)
    return environment


def seconds_of(text: str | None, option: str) -> float | None:
    """Raises InputError for what is no duration."""
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise InputError(f"--{option}: {error}", next_command=f"--{option} 12h") from None


def at_the_gateway(environment: Environment) -> bool:
    """Bring the keys to the gateway; False where no cluster is there to bring them to."""
    try:
        site = read_infrastructure(environment)
    except NothingDeployed:
        return False
    return keys_to_gateway(site)

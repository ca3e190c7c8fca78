"""Endpoint: where a model answers, and the key that opens it. Not a flow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flows.run.choices import EnvironmentName, ModelName, read_choice
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import project_root
from tasks.records.results import Endpoint
from tasks.releases.task import serving_release
from tasks.validation.task import api_key


class Reachable(NamedTuple):
    """The endpoint of the release that serves, the file its API key was written to, as seen from here, and the file of the
    private authority that its certificate is verified by."""

    endpoint: Endpoint
    key_file: Path
    authority: str = ""


def endpoint(model: ModelName, environment: EnvironmentName) -> Reachable:
    """Print the address of a model and a request to try.

    The API key goes into a file only you can read.
    """
    found, key, authority = reached(model, environment)
    return Reachable(found, keep_key(environment, key), authority)


def reached(model: str, environment: str) -> tuple[Endpoint, str, str]:
    """The endpoint of the release that serves, its API key, and the file of its certificate's private authority, or "".

    Raises NothingDeployed, CloudError, ClusterError.
    """
    choice = read_choice(model, environment)
    site = read_infrastructure.fn(choice.environment)
    found = serving_release.fn(site, choice.model).endpoint
    tls = choice.environment.gateway.tls
    return found, api_key(site.cluster(), found), (tls and tls.authority) or ""


def keep_key(environment: str, key: str) -> Path:
    """Write the key into a file of mode 0600 below .slipway/; its path."""
    file = project_root() / ".slipway" / "keys" / environment
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)
    file.write_text(key)
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file

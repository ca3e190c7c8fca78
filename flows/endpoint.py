"""Endpoint: where a model answers, and the key that opens it. Reads only; not a flow."""

from __future__ import annotations

from flows.run.choices import read_choice
from tasks.infra.task import read_infrastructure
from tasks.records.results import Endpoint
from tasks.releases.task import serving_release
from tasks.validation.task import api_key


def find_endpoint(model: str, environment: str) -> tuple[Endpoint, str]:
    """The address of the release that serves, and its API key. Raises NotDeployed and what AWS refuses."""
    choice = read_choice(model, environment)
    site = read_infrastructure.fn(choice.environment)
    found = serving_release.fn(site, choice.model).endpoint
    return found, api_key(site.cluster(), found)

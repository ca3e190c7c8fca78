"""Endpoint: where a model answers, and the key that opens it. Reads only; not a flow."""

from __future__ import annotations

from flows.choices import read_choice
from tasks.infra.task import read_infrastructure
from tasks.records.results import Endpoint
from tasks.rollout.task import served_at, serving_release
from tasks.task import cluster_of
from tasks.validation.task import api_key


def find_endpoint(model: str, environment: str) -> tuple[Endpoint, str]:
    """The address of the release that serves, and its API key. Raises NotDeployed and what AWS refuses."""
    what, where = read_choice(model, environment)
    storage, infrastructure = read_infrastructure.fn(where)
    found = served_at(serving_release.fn(what, where, storage))
    return found, api_key(cluster_of(infrastructure), found)

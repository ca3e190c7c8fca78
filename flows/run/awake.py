"""Find which models have a ready replica."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.records.errors import NothingDeployed
from tasks.records.model import Model
from tasks.site import Site
from tasks.status.task import list_served


def awake_models(site: Site, models: Sequence[Model], asked: str | None = None) -> list[Model]:
    """Those of `models` that have a ready replica. Raises NothingDeployed where `asked`, a model's name, is not among them."""
    awake = {one.model for one in list_served(site, models) if one.awake}
    if asked and asked not in awake:
        raise NothingDeployed(
            f"no replica of {asked} serves in {site.name}",
            next_command=f"slipway wake {asked} -e {site.name}",
        )
    return [model for model in models if model.name in awake]

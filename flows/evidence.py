"""Evidence: what was signed of the release that serves, on one page. Not a flow."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, read_choice
from tasks.evidence.task import explained_evidence
from tasks.infra.task import read_infrastructure


def evidence(
    model: ModelName,
    environment: EnvironmentName,
    out: str | None = Field(
        None,
        description="folder that gets bundle.json, previous.json and public.pem, for `slipway verify`, model.sig and bom.cdx.json",
    ),
) -> str:
    """Fetch, verify and explain the signed evidence of a model.

    Changes nothing.
    """
    choice = read_choice(model, environment)
    site = read_infrastructure.fn(choice.environment)
    return explained_evidence(site, choice.model, Path(out) if out else None)

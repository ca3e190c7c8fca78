"""What `slipway status` knows of an environment: each cell that could not be read says why beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from tasks.records.costs import Costs
from tasks.records.record import Record
from tasks.records.results import Served


class ModelStatus(Record):
    """One model in one environment. None: not known, where `unknown` says why, or there is none."""

    model: str
    served: Served | None = Field(None, description="of the ledger; none where it could not be read")
    replicas_wanted: int | None = None
    nodes: tuple[str, ...] | None = Field(None, description="that its pods are on")
    last_drill_at: datetime | None = Field(None, description="when a promise was last put to the test")
    requests_per_minute: float | None = Field(None, description="that ended at the gateway, any status")
    usd_per_hour: float | None = Field(
        None, description="its pods' share of their nodes, by GPUs, by list prices"
    )
    usd_per_million: float | None = Field(
        None, description="USD per million output tokens at the rate it was proven with, its GPUs alone"
    )
    unknown: dict[str, str] = Field({}, description="cell -> why it could not be read")

    @property
    def awake(self) -> bool:
        return self.served is not None and self.served.awake and "replicas_ready" not in self.unknown

    def document(self) -> dict[str, Any]:
        """Its keys stay as they are: docs/watching.md."""
        served = self.served
        known = {
            "release": served.release if served else None,
            "replicas_ready": served.replicas if served else None,
            "replicas_wanted": self.replicas_wanted,
            "nodes": list(self.nodes) if self.nodes is not None else None,
            "proven_at": _time(served.proven_at if served else None),
            "last_drill_at": _time(self.last_drill_at),
            "requests_per_minute": self.requests_per_minute,
            "usd_per_hour": self.usd_per_hour,
            "usd_per_million_output_tokens_at_proven_rate": self.usd_per_million,
        }
        cells = {name: None if name in self.unknown else value for name, value in known.items()}
        return {
            "model": self.model,
            **cells,
            "rolling": served.rolling if served else None,
            "base_url": served.base_url if served else None,
            "promises": [one.model_dump(mode="json") for one in served.promises] if served else [],
            "unknown": self.unknown,
        }


class EnvironmentStatus(Record):
    """One environment at one moment."""

    environment: str
    at: datetime
    models: tuple[ModelStatus, ...] = Field(
        (), description="those that have a release, or whose ledger is not readable"
    )
    nodes: dict[str, int] | None = Field(None, description="instances that run, by type")
    gpu_nodes: int | None = Field(None, description="of them, those of a GPU type")
    usd_per_hour: float | None = Field(
        None, description="instances, control plane and NAT gateways, by list prices"
    )
    day: Costs | None = Field(None, description="what the last 24 hours cost")
    troubles: tuple[str, ...] = Field((), description="what is wrong with capacity, by causes")
    unknown: dict[str, str] = Field({}, description="what could not be read -> why")

    def document(self) -> dict[str, Any]:
        """As `--json` prints it. Its keys stay as they are: docs/watching.md."""
        return {
            "environment": self.environment,
            "at": _time(self.at),
            "models": [model.document() for model in self.models],
            "nodes": self.nodes,
            "gpu_nodes": self.gpu_nodes,
            "usd_per_hour": self.usd_per_hour,
            "last_24_hours": self.day.document() if self.day else None,
            "troubles": list(self.troubles),
            "unknown": self.unknown,
        }

    @property
    def served(self) -> Sequence[Served]:
        """What the ledger says serves."""
        return [one.served for one in self.models if one.served]


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None

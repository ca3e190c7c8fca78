"""What serving costs, as figures of their own basis: they are never added up or compared."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from tasks.records.record import Record

MILLION = 1e6
HOUR = 3600.0


def usd_per_million(usd_per_hour: float, tokens_per_second: float) -> float | None:
    """USD per million tokens at a steady rate; None where no token is made. Pure."""
    return usd_per_hour * MILLION / (tokens_per_second * HOUR) if tokens_per_second > 0 else None


class ModelCosts(Record):
    """One model's part of the GPU nodes that were paid for, and what it made of it."""

    output_tokens: float
    gpu_usd: float | None = Field(None, description="by the GPU time of its replicas among all models'")
    usd_per_million: float | None = Field(
        None, description="USD per million output tokens at this traffic: the hours paid, idle ones too"
    )


class Costs(Record):
    """What was paid in a window, by instance seconds: list prices on demand, EC2's price history for spot. None: a source did not answer."""

    since: datetime = Field(description="a day ago, or when the first instance that is known of began")
    until: datetime
    instance_hours: dict[str, float] = Field(description="by type; from launch to end, as EC2 says them")
    at_least: bool = Field(
        False, description="an instance may be missing, or its end is not known: nobody looked for an hour"
    )
    paid_usd: float | None = Field(None, description="of all instances")
    gpu_usd: float | None = Field(None, description="of those of GPU types")
    idle_usd: float | None = Field(None, description="of gpu_usd, what was paid while no request ran")
    saved_usd: float | None = Field(
        None,
        description="what the GPU nodes of every model's fewest replicas would have cost besides, awake all the time",
    )
    models: dict[str, ModelCosts] = Field({}, description="those that have a release")
    unknown: dict[str, str] = Field({}, description="what could not be read -> why")

    def document(self) -> dict[str, Any]:
        """As `slipway status --json` prints it."""
        document: dict[str, Any] = self.model_dump(mode="json", exclude={"models"})
        document["models"] = {
            name: {
                "output_tokens": one.output_tokens,
                "gpu_usd": one.gpu_usd,
                "usd_per_million_output_tokens_at_this_traffic": one.usd_per_million,
            }
            for name, one in self.models.items()
        }
        return document

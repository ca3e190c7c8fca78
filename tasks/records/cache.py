"""How weights come to a model's replicas: the cache volume, and streaming from S3."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.records.quantities import Quantity, Seconds
from tasks.records.record import Record


class Cache(Record):
    """The EBS volume that weights are served from. What is not given is derived from the model."""

    size: Quantity | None = Field(
        None, description="volume size; default: 1.3 x the model + 2 GiB, whole GiB"
    )
    load_seconds: Seconds | None = Field(
        None,
        gt=0,
        description="time to read the model in; default: the start-up budget's (deadlines.cold_read_mib_s)",
    )
    throughput: int | None = Field(
        None,
        ge=125,
        le=2000,
        description="MiB/s; default: from load_seconds, within what gp3 and the instance type can",
    )
    iops: int | None = Field(None, ge=3000, le=80000, description="default: what the throughput needs")

    keep: int = Field(1, ge=0, description="unused revisions kept on the volume while there is room")
    compile: Quantity = Field(
        "2Gi",
        description="bytes that what vLLM compiled may take on the volume, for the next start; 0: nothing is kept. One replica's volume only",
    )
    snapshot: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether the warmed volume is snapshotted, for replicas to clone; auto: where there may be several",
    )
    restore: Literal["lazy", "initialization-rate", "fast-snapshot-restore"] = Field(
        "lazy",
        description="how clones are hydrated: lazily; at a billed rate; or instantly, by fast snapshot restore (billed hourly)",
    )
    initialization_rate: int = Field(
        300, ge=100, le=300, description="MiB/s, with restore: initialization-rate"
    )


# vLLM's flags of the loader, which streaming sets
LOADING = ("--load-format", "--model-loader-extra-config")


class Stream(Record):
    """How weights are streamed from S3 (weights: stream): Run:ai Model Streamer's limits, as vLLM's --model-loader-extra-config."""

    concurrency: int = Field(16, ge=1, le=256, description="requests at a time")
    memory: Quantity = Field(
        "4Gi",
        description="host memory of each rank for tensors on their way to the GPU; a part of resources.memory",
    )

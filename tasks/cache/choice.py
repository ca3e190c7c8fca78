"""Choose between a cache volume and streaming from S3 (`weights: auto`). Pure.

A volume is the rule: its bytes are verified range by range, and its pods need no way out. Streaming is chosen where
replicas start often and S3 is as quick, or where it is slower but the volume costs more than the GPUs that wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.records.model import Model
from tasks.records.quantities import human_bytes, human_seconds
from tasks.records.results import WeightsChoice

MIB = 2**20
STARTS_A_MONTH = 60  # of a model that starts often: what a month's waiting GPUs are counted by


@dataclass(frozen=True)
class Facts:
    """What the choice goes by.

    Args:
        size: bytes of the weights.
        volume_mib_s, stream_mib_s: the rates that the start-up budgets allow for (deadlines of the environment).
        spot: whether EC2 may take the nodes back.
        volume_month: USD a month of the volume and of the snapshot that replicas would clone; None where unknown.
        replica_hour: USD an hour of one replica's GPUs; None where unknown.
    """

    size: int
    volume_mib_s: float
    stream_mib_s: float
    spot: bool = False
    volume_month: float | None = None
    replica_hour: float | None = None


def choose(model: Model, facts: Facts) -> WeightsChoice:
    """How the weights of a model with `weights: auto` come to its replicas, and why."""
    if cannot := model.cannot_stream():
        return WeightsChoice(how="volume", why=cannot)
    often = why_often(model, facts.spot)
    month = "" if facts.volume_month is None else f", {facts.volume_month:.2f} USD a month"
    if not often:
        return WeightsChoice(
            how="volume", why=f"one replica that stays starts seldom{month}, and its pods need no way out"
        )
    by_volume, by_stream = (facts.size / MIB / rate for rate in (facts.volume_mib_s, facts.stream_mib_s))
    read = f"{human_bytes(facts.size)} in {human_seconds(by_stream)} from S3, {human_seconds(by_volume)} from a volume"
    if by_stream <= by_volume:
        return WeightsChoice(how="stream", why=f"{often}: {read}{month}")
    if facts.volume_month is None or facts.replica_hour is None:
        return WeightsChoice(how="volume", why=f"{often}: {read}; a price is unknown, so the quicker one")
    waiting = (by_stream - by_volume) / 3600 * STARTS_A_MONTH * facts.replica_hour
    read += f"; {STARTS_A_MONTH} starts a month wait for {waiting:.2f} USD more, the volume is {facts.volume_month:.2f} USD"
    how = "stream" if waiting < facts.volume_month else "volume"
    return WeightsChoice(how=how, why=f"{often}: {read}")


def why_often(model: Model, spot: bool) -> str:
    """Why replicas of the model start often; "" where they do not."""
    if model.scaling.scale_to_zero:
        return "a request wakes it (scaling.scale_to_zero)"
    if model.scaling.max_replicas > 1:
        return f"up to {model.scaling.max_replicas} replicas"
    return "spot nodes are taken back" if spot else ""

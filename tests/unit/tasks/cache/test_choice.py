"""Volume or stream: the choice by how often replicas start, the seconds a start takes, and what each costs."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cache.choice import Facts, choose
from tests.support.builders import a_model

GIB = 1 << 30
ROOM: dict[str, Any] = {"resources": {"memory": "32Gi"}}
SEVERAL: dict[str, Any] = {"scaling": {"max_replicas": 4}}
SLEEPS: dict[str, Any] = {"scaling": {"scale_to_zero": True}}


@pytest.mark.parametrize(
    ("model", "facts", "how", "why"),
    [
        # seldom started: a volume, whatever it costs
        ({}, Facts(16 * GIB, 100, 1000, volume_month=2.0), "volume", "starts seldom, 2.00 USD a month"),
        ({}, Facts(16 * GIB, 100, 1000), "volume", "one replica that stays starts seldom, and its pods"),
        # often, and S3 is as quick or quicker: a stream, also where no price is known
        (SEVERAL, Facts(16 * GIB, 100, 100), "stream", "up to 4 replicas: 16.0 GiB in 2 min 44 s from S3, 2 min 44 s from a volume"),
        (SLEEPS, Facts(16 * GIB, 100, 800, volume_month=2.0), "stream", "a request wakes it (scaling.scale_to_zero): "),
        ({}, Facts(16 * GIB, 100, 100, spot=True), "stream", "spot nodes are taken back: "),
        # often, and S3 is slower: by what the waiting GPUs cost beside the volume. 16 GiB at 100 and 80 MiB/s: 41 s more,
        # sixty times a month 0.68 hours
        (SLEEPS, Facts(16 * GIB, 100, 80, volume_month=2.0, replica_hour=1.0), "stream", "wait for 0.68 USD more, the volume is 2.00 USD"),
        (SLEEPS, Facts(16 * GIB, 100, 80, volume_month=2.0, replica_hour=4.0), "volume", "wait for 2.73 USD more, the volume is 2.00 USD"),
        (SLEEPS, Facts(16 * GIB, 100, 80, volume_month=0.5, replica_hour=1.0), "volume", "wait for 0.68 USD more"),
        # size: four times the bytes wait four times as long; the price of a volume does not grow so with snapshots kept anyway
        (SLEEPS, Facts(64 * GIB, 100, 80, volume_month=2.0, replica_hour=1.0), "volume", "wait for 2.73 USD more"),
        (SLEEPS, Facts(16 * GIB, 100, 80, volume_month=2.0), "volume", "a price is unknown, so the quicker one"),
        (SLEEPS, Facts(16 * GIB, 100, 80, replica_hour=1.0), "volume", "a price is unknown, so the quicker one"),
        # what cannot be streamed
        (SLEEPS | {"cache": {"snapshot": "always"}}, Facts(GIB, 1, 100), "volume", "has no volume: leave cache.snapshot"),
        (SLEEPS | {"stream": {"memory": "32Gi"}}, Facts(GIB, 1, 100), "volume", "has too little memory: stream.memory 32Gi"),
        (SLEEPS | {"engine": {"extra_args": ["--load-format=fastsafetensors"]}}, Facts(GIB, 1, 100), "volume", "sets the loader itself"),
        (SLEEPS | {"engine": {"lora": [{"name": "x", "repo": "a/b"}]}}, Facts(GIB, 1, 100), "volume", "without adapters"),
    ],
)  # fmt: skip
def test_the_choice_and_its_reason(model: dict[str, Any], facts: Facts, how: str, why: str) -> None:
    chosen = choose(a_model(weights="auto", **{**ROOM, **model}), facts)
    assert (chosen.how, why in chosen.why) == (how, True), chosen

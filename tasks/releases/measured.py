"""The numbers that a sweep measured and a release was proven with: which of them the next deploy takes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field

from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.record import Record
from tasks.records.reports import Sweep
from tasks.releases.images import by_digest, written

# of a load: how much of it there is, not what is asked
AMOUNT = {"rate", "stages", "ramp_to", "concurrency", "warmup", "window", "drain", "seed"}


class MeasuredNumbers(Record):
    """What `slipway sweep --apply` found and rolled out, and what it was found on."""

    requests_per_replica: int
    max_num_seqs: int
    by: str = Field(description="the release that was swept")
    at: datetime = Field(description="when the sweep began")
    basis: dict[str, str] = Field(description="what the figures depend on; another value makes them stale")


class Chosen(NamedTuple):
    """The model as it is deployed, and what is said of its numbers."""

    model: Model
    told: list[str]


def numbers_of(sweep: Sweep, release: str, basis: Mapping[str, str]) -> MeasuredNumbers:
    """What a sweep that found a knee proposes."""
    assert sweep.requests_per_replica and sweep.max_num_seqs  # noqa: S101  the caller has looked at `refused`
    return MeasuredNumbers(
        requests_per_replica=sweep.requests_per_replica,
        max_num_seqs=sweep.max_num_seqs,
        by=release,
        at=sweep.started_at,
        basis=dict(basis),
    )


def basis_of(model: Model, environment: Environment) -> dict[str, str]:
    """What a sweep's figures depend on, by the words a person knows it by.

    The repo and not its commit: weights trained anew on the same architecture take the same time.
    """
    engine, gpu = model.engine, environment.cluster.gpu
    return {
        "model": model.source.repo,
        "image": engine.image,
        "engine flags": _digest(engine.model_dump(mode="json", exclude={"image", "max_num_seqs"})),
        "hardware": f"{', '.join(sorted(gpu.types))}: {model.resources.gpu} GPU, {model.resources.cpu} CPU",
        "objectives": _digest(model.objectives.model_dump(mode="json", exclude={"regression"})),
        "load": _digest(model.asked_load.model_dump(mode="json", exclude=AMOUNT)),
    }


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The words of what is not as it was when the figures were measured."""
    return [word for word, value in now.items() if not _same(word, before.get(word, ""), value)]


def given_in_file(model: Model) -> list[str]:
    """Those of the two numbers that the model's file sets itself."""
    found = []
    if "requests_per_replica" in model.scaling.model_fields_set:
        found.append("scaling.requests_per_replica")
    if "max_num_seqs" in model.engine.model_fields_set:
        found.append("engine.max_num_seqs")
    return found


def choose(model: Model, numbers: MeasuredNumbers | None, now: Mapping[str, str]) -> Chosen:
    """The model with what was measured, where that is of `now` and the file sets nothing itself."""
    if numbers is None:
        return Chosen(model, [])
    if stale := changed(numbers.basis, now):
        return Chosen(
            model,
            [
                f"what the sweep of {numbers.by} measured is stale: {', '.join(stale)} changed since; "
                f"the file's numbers and the defaults are taken until `slipway sweep {model.name} --apply` measures again"
            ],
        )
    given, told = given_in_file(model), []
    scaling, engine = model.scaling, model.engine
    if "scaling.requests_per_replica" not in given:
        scaling = scaling.model_copy(update={"requests_per_replica": numbers.requests_per_replica})
        told.append(f"scaling.requests_per_replica {numbers.requests_per_replica}")
    if "engine.max_num_seqs" not in given:
        engine = engine.model_copy(update={"max_num_seqs": numbers.max_num_seqs})
        told.append(f"engine.max_num_seqs {numbers.max_num_seqs}")
    said = [f"as the sweep of {numbers.by} measured: {', '.join(told)}"] if told else []
    if given:
        said.append(f"as the model's file sets it, whatever was measured: {', '.join(given)}")
    return Chosen(model.model_copy(update={"scaling": scaling, "engine": engine}), said)


def _same(word: str, before: str, now: str) -> bool:
    if word == "image" and not (by_digest(before) and by_digest(now)):
        return written(before) == written(now)
    return before == now


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]

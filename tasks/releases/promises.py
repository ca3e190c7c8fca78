"""What a release promises beside answering, as it was applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.records.drills import PROMISES, Outcome, Promise
from tasks.records.model import Model
from tasks.releases.ledger import Serving
from tasks.releases.records import ReleaseRecord


@dataclass(frozen=True)
class No:
    """Why a promise is not put to the test."""

    outcome: Outcome
    why: str
    next_command: str = ""


def promised(model: Model, serving: Serving) -> tuple[Promise, ...]:
    """What a release that serves promises, in the order it is drilled."""
    return tuple(promise for promise in PROMISES if not not_promised(promise, model, serving))


def not_promised(promise: Promise, model: Model, serving: Serving) -> No | None:
    """Why a promise is none; None where it is one."""
    most, fewest = model.scaling.max_replicas, model.scaling.min_replicas
    if promise in ("scale-out", "scale-in") and most == fewest:
        return No("not promised", f"scaling.min_replicas and max_replicas are {most}: nothing scales")
    if promise == "rollback" and not serving.previous:
        return No("not promised", "no release served before this one")
    return None


def scaler_of(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The release's ScaledObject; None in ledgers of before there was one."""
    return next((one for one in documents if one["kind"] == "ScaledObject"), None)


def as_released(model: Model, record: ReleaseRecord) -> Model:
    """The model with the engine, bounds and target of its release: that is what serves, whatever its file says by now."""
    numbers: dict[str, int] = {}
    if scaled := scaler_of(record.documents):
        spec = scaled["spec"]
        numbers = {
            "min_replicas": int(spec["minReplicaCount"]),
            "max_replicas": int(spec["maxReplicaCount"]),
            "requests_per_replica": int(spec["triggers"][0]["metadata"]["threshold"]),
        }
    scaling = model.scaling.model_copy(update=numbers)
    return model.model_copy(update={"engine": record.release.engine, "scaling": scaling})

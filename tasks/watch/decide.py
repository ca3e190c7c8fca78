"""Decide what to do about the newest commit of a followed model. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.records.results import Release
from tasks.records.watching import HubCommit, Outcome, Watched, WatchedCommits, WatchSettings


@dataclass(frozen=True)
class Decision:
    """Whether the commit is judged, and why, or why not. `remember`: that it serves, so that a rollback from it stays."""

    act: bool
    why: str
    remember: bool = False


def decide(newest: str, serving: str, known: WatchedCommits, basis: str, again: bool = False) -> Decision:
    """`again`: judge also what was decided about before, but not what serves."""
    found = known.find(newest, basis)
    if newest == serving:
        return Decision(False, f"{newest[:12]} serves, and is the newest", remember=found is None)
    if found and not again:
        return Decision(False, _decided(found))
    return Decision(True, f"{newest[:12]} is new; {serving[:12]} serves")


def _decided(found: Watched) -> str:
    told = {
        "refused": "was refused",
        "failed": "was not proven",
        "proven": "was proven, and another release was put back since",
    }[found.outcome]
    why = f": {found.reasons[0]}" if found.reasons else ""
    return f"{found.commit[:12]} {told} at {found.at:%Y-%m-%d %H:%M} UTC{why}"


def basis_of(model: Model, policy: WatchSettings) -> str:
    """Twelve hexadecimal digits over what a decision depends on beside the commit. When it is asked does not count."""
    asked = policy.model_dump(mode="json", exclude={"cron", "timezone", "settle"})
    document = json.dumps([model.model_dump(mode="json"), asked], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def with_serving_adapters(model: Model, serving: Release) -> Model:
    """The model with its adapters at the commits that serve: no newer one of them comes in beside the model's.

    Raises InputError where the file names an adapter that does not serve.
    """
    pinned = {(lora.name, lora.repo): lora.revision for lora in serving.engine.lora}
    if strangers := [lora.name for lora in model.engine.lora if (lora.name, lora.repo) not in pinned]:
        raise InputError(
            f"the adapter {strangers[0]} of {model.name} does not serve: watch brings in commits of the model alone",
            next_command=f"slipway deploy {model.name} -e {serving.environment}",
        )
    lora = tuple(one.model_copy(update={"revision": pinned[one.name, one.repo]}) for one in model.engine.lora)
    return model.model_copy(update={"engine": model.engine.model_copy(update={"lora": lora})})


def watched(
    newest: HubCommit,
    basis: str,
    outcome: Outcome,
    began: datetime,
    now: datetime,
    reasons: Sequence[str] = (),
) -> Watched:
    """What became of a commit, with the seconds until it was noticed and from then until it was decided about."""
    noticed = {"noticed": (began - newest.committed_at).total_seconds()} if newest.committed_at else {}
    return Watched(
        commit=newest.commit,
        basis=basis,
        outcome=outcome,
        reasons=tuple(reasons),
        at=now,
        seconds={**noticed, outcome: (now - began).total_seconds()},
    )

"""What the ledger says of a model that has a release."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tasks.records.drills import states_of
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import Served
from tasks.records.starts import over_budget
from tasks.releases.ledger import Ledger
from tasks.releases.measured import basis_of
from tasks.releases.origins import origins_of
from tasks.releases.promises import as_released, promised


@dataclass(frozen=True)
class Known:
    """A release that serves. `output_tokens_per_second`: as proven last, all replicas together; 0 where it makes none."""

    served: Served
    output_tokens_per_second: float
    drilled_at: datetime | None


def read(ledger: Ledger, model: Model, environment: Environment, now: datetime) -> Known | None:
    """None where the model has no release here; its replicas are to be filled in. Raises CloudError, ValidationError."""
    known = ledger.serving()
    if known.serving is None:
        return None
    record, drills = ledger.record(known.serving), ledger.drills()
    passed = record.proven_by or record.report
    proven = passed if passed and passed.verdict == "PASS" else None
    served = Served(
        model=model.name,
        release=known.serving,
        rolling=known.rolling,
        replicas=0,
        proven_at=proven.started_at if proven else None,
        made_from=record.made_from,
        base_url=record.rollout.endpoint.base_url if record.rollout else "",
        slow_start=over_budget(record.starts[-1].phases, model.scaling.start_budget) if record.starts else (),
        tuned=origins_of(record, ledger.last_swept(), ledger.measured(), basis_of(model, environment)),
        promises=states_of(
            promised(as_released(model, record), known),
            drills,
            now,
            environment.drills.unproven_after,
            f"slipway drill {model.name} -e {environment.name}",
        ),
    )
    drilled = [one.at for one in drills.last.values()]
    rate = proven.output_tokens_per_second if proven and proven.generates else 0.0
    return Known(served, rate, max(drilled, default=None))

"""Where the numbers that a release scales by come from: a sweep, the defaults, or the model's file. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.records.model import Engine, Scaling
from tasks.records.reports import Sweep
from tasks.records.results import Tuned
from tasks.releases.measured import MeasuredNumbers, changed
from tasks.releases.records import ReleaseRecord

REQUESTS, SEQUENCES = "scaling.requests_per_replica", "engine.max_num_seqs"
DEFAULTS: dict[str, int] = {
    REQUESTS: Scaling.model_fields["requests_per_replica"].default,
    SEQUENCES: Engine.model_fields["max_num_seqs"].default,
}


def origins_of(
    record: ReleaseRecord,
    swept: tuple[str, Sweep] | None,
    applied: MeasuredNumbers | None = None,
    now: Mapping[str, str] | None = None,
) -> tuple[Tuned, ...]:
    """The release's requests_per_replica and max_num_seqs, each with its origin.

    `swept`: (release, sweep) of the last sweep; `applied`: what `sweep --apply` measured, which is stale where it was not on
    what is there `now` (measured.basis_of). A number is measured where one of the two proposed just it.
    """
    stale = ", ".join(changed(applied.basis, now or {})) if applied else ""
    proposed: list[tuple[str, Mapping[str, int | None]]] = []
    if applied and not stale:
        proposed.append(
            (applied.by, {REQUESTS: applied.requests_per_replica, SEQUENCES: applied.max_num_seqs})
        )
    if swept and swept[1].refused is None:
        proposed.append(
            (swept[0], {REQUESTS: swept[1].requests_per_replica, SEQUENCES: swept[1].max_num_seqs})
        )
    values = {REQUESTS: _threshold(record), SEQUENCES: record.release.engine.max_num_seqs}
    found = []
    for name, value in values.items():
        if value is None:
            continue
        by = next((release for release, numbers in proposed if numbers[name] == value), None)
        if by:
            found.append(Tuned(name=name, value=value, origin="measured", measured_by=by))
            continue
        origin = "default" if value == DEFAULTS[name] else "given"
        found.append(Tuned.model_validate({"name": name, "value": value, "origin": origin, "stale": stale}))
    return tuple(found)


def _threshold(record: ReleaseRecord) -> int | None:
    """The target of the ScaledObject the release was applied with; None where it has none."""
    for document in record.documents:
        if document["kind"] == "ScaledObject":
            return int(document["spec"]["triggers"][0]["metadata"]["threshold"])
    return None

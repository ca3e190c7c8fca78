"""Where the numbers that a release scales by come from: a sweep, the defaults, or the model's file."""

from __future__ import annotations

from tasks.records.model import Engine, Scaling
from tasks.records.reports import Sweep
from tasks.records.results import Tuned
from tasks.releases.records import ReleaseRecord


def origins_of(record: ReleaseRecord, swept: tuple[str, Sweep] | None) -> tuple[Tuned, ...]:
    """The release's requests_per_replica and max_num_seqs, each with its origin. Pure.

    `swept`: (release, sweep) of the last sweep. A number is measured where that sweep proposed just it.
    """
    sweep = swept[1] if swept and swept[1].refused is None else None
    by = swept[0] if swept else ""
    seqs = record.release.engine.max_num_seqs
    found = [
        _tuned(
            "engine.max_num_seqs",
            seqs,
            sweep.max_num_seqs if sweep else None,
            Engine.model_fields["max_num_seqs"].default,
            by,
        )
    ]
    threshold = _threshold(record)
    if threshold is not None:
        proposed = sweep.requests_per_replica if sweep else None
        default = Scaling.model_fields["requests_per_replica"].default
        found.insert(0, _tuned("scaling.requests_per_replica", threshold, proposed, default, by))
    return tuple(found)


def _threshold(record: ReleaseRecord) -> int | None:
    """The target of the ScaledObject the release was applied with; None where it has none."""
    for document in record.documents:
        if document["kind"] == "ScaledObject":
            return int(document["spec"]["triggers"][0]["metadata"]["threshold"])
    return None


def _tuned(name: str, value: int, proposed: int | None, default: int, by: str) -> Tuned:
    if value == proposed:
        return Tuned(name=name, value=value, origin="measured", measured_by=by)
    return Tuned(name=name, value=value, origin="default" if value == default else "given")

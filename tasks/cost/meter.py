"""The seconds that instances ran, kept over EC2's memory of them, which is an hour. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field

from tasks.cloud.instances import Instance
from tasks.records.record import Record

# an instance that was terminated is listed for about an hour:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
LISTED = timedelta(minutes=55)
KEPT = timedelta(days=31)


class Machine(Record):
    """One instance that was seen. `exact`: its end is EC2's word, and not the last time that it was seen."""

    id: str
    type: str
    zone: str = ""
    spot: bool = False
    launched_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None
    exact: bool = True

    def seconds(self, start: datetime, end: datetime) -> float:
        """How long it ran between two times."""
        began, until = self.span(start, end)
        return max(0.0, (until - began).total_seconds())

    def span(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """From when until when it ran between two times; the second is the earlier one where it did not."""
        return max(start, self.launched_at), min(end, self.ended_at or end)


class Meter(Record):
    """Every instance that ran within KEPT, as far as somebody looked."""

    began_at: datetime | None = Field(None, description="the first launch that the first look saw")
    looked_at: datetime | None = None
    gaps: tuple[tuple[datetime, datetime], ...] = Field(
        (), description="times without a look that were longer than EC2 remembers"
    )
    machines: tuple[Machine, ...] = ()

    def after(self, seen: Sequence[Instance], now: datetime) -> Meter:
        """With one more look."""
        there = {one.id: one for one in seen}
        known = {one.id: _looked(one, there.get(one.id), now) for one in self.machines}
        known |= {one.id: _machine(one, now) for one in seen if one.id not in known}
        oldest = now - KEPT
        gaps = [gap for gap in self.gaps if gap[1] > oldest]
        if self.looked_at and now - self.looked_at > LISTED:
            gaps.append((self.looked_at, now))
        first = min((one.launched_at for one in known.values()), default=now)
        return Meter(
            began_at=max(self.began_at or min(first, now), oldest),
            looked_at=now,
            gaps=tuple(gaps),
            machines=tuple(one for one in known.values() if one.ended_at is None or one.ended_at > oldest),
        )

    def seconds(self, start: datetime, end: datetime) -> dict[str, float]:
        """Instance seconds between two times, by type."""
        found: dict[str, float] = {}
        for one in self.ran(start, end):
            found[one.type] = found.get(one.type, 0.0) + one.seconds(start, end)
        return found

    def ran(self, start: datetime, end: datetime) -> list[Machine]:
        """Those that ran between two times."""
        return [one for one in self.machines if one.seconds(start, end)]

    def at_least(self, start: datetime, end: datetime) -> bool:
        """Whether what is known of that time may be too little."""
        inexact = any(not one.exact and one.seconds(start, end) for one in self.machines)
        return inexact or any(gap[0] < end and gap[1] > start for gap in self.gaps)

    def below(self, types: Sequence[str], wanted: int, start: datetime, end: datetime) -> float:
        """Instance seconds of these types that were fewer than `wanted`, added up over the time between."""
        ours = [one for one in self.machines if one.type in types]
        times = {start, end}
        for one in ours:
            times |= {at for at in (one.launched_at, one.ended_at) if at and start < at < end}
        missing = 0.0
        for left, right in itertools.pairwise(sorted(times)):
            running = sum(one.seconds(left, right) > 0 for one in ours)
            missing += max(0, wanted - running) * (right - left).total_seconds()
        return missing


def _machine(one: Instance, now: datetime) -> Machine:
    ended = None if one.runs else one.ended_at or now
    exact = one.runs or one.ended_at is not None
    return Machine(
        id=one.id,
        type=one.type,
        zone=one.zone,
        spot=one.spot,
        launched_at=one.launched_at,
        seen_at=now,
        ended_at=ended,
        exact=exact,
    )


def _looked(known: Machine, one: Instance | None, now: datetime) -> Machine:
    if known.ended_at:
        return known
    if one is None or (not one.runs and one.ended_at is None):
        # EC2 has forgotten it, or does not say when it ended: it ran at least until it was seen last
        return known.model_copy(update={"ended_at": known.seen_at, "exact": False})
    return _machine(one, now)

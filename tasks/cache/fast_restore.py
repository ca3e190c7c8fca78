"""Fast snapshot restore in EC2: switched on and off as the model's file says, and waited for.

A snapshot and a zone are billed by the minute, an hour at least, from the moment it is switched on; deleting the snapshot
ends it. Only clones made once its state is `enabled` are fast, and of those as many as there are credits.
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-fast-snapshot-restore.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.cloud.ebs import Ebs
from tasks.cloud.waiting import REAL, Time, changes
from tasks.records.progress import Reporter
from tasks.records.quantities import human_seconds

LOOK_SECONDS = 1.0
ON = frozenset({"enabling", "optimizing", "enabled"})
SECONDS_A_TIB = 3600.0
MOST_CREDITS = 10


# The next step. To wait: it is on and not ready yet, or it is going off where it is wanted.
Switching = Literal["switch", "wait", "done"]


def decide(states: Mapping[str, str], wanted: Collection[str]) -> Switching:
    """The next step towards fast restore in the `wanted` zones and in no other. `states`: EC2's, by zone. Pure."""
    if any(states.get(zone) == "disabling" for zone in wanted):
        return "wait"
    if on(states) != set(wanted):
        return "switch"
    return "done" if all(states[zone] == "enabled" for zone in wanted) else "wait"


def on(states: Mapping[str, str]) -> set[str]:
    """Zones it is on in, and billed. Pure."""
    return {zone for zone, state in states.items() if state in ON}


def ready_seconds(gib: int) -> float:
    """Deadline for a snapshot of so many GiB: twice the hour EBS needs for a TiB, and a minute to begin."""
    return 60.0 + 2 * SECONDS_A_TIB * gib / 1024


def credits(gib: int) -> tuple[int, float]:
    """Volume-creation credits for a snapshot of so many GiB: (maximum, refilled per hour).

    https://docs.aws.amazon.com/ebs/latest/userguide/volume-creation-credits.html
    """
    hourly = min(float(MOST_CREDITS), 1024 / max(1, gib))
    return max(1, int(hourly)), hourly


@dataclass(frozen=True)
class FastRestore:
    """Fast restore of snapshots in one region."""

    ebs: Ebs
    reporter: Reporter
    time: Time = REAL

    def tell_price(self, name: str, zones: Collection[str]) -> None:
        usd = self.ebs.prices.told(self.ebs.prices.fast_restore(len(zones)))
        self.reporter.say(
            f"fast restore of {name} in {', '.join(sorted(zones))} is switched on: {usd}, as long as it is"
        )

    def converge(self, name: str, snapshot: str, gib: int, zones: Collection[str]) -> None:
        """Switch fast restore of the EC2 snapshot on in `zones` and off elsewhere, and wait until it is ready.

        Where it is not ready within `ready_seconds`, report that and go on: clones then hydrate lazily. Raises CloudError.
        """
        seconds = ready_seconds(gib)
        deadline, switched, say = self.time.clock() + seconds, False, changes(self.reporter.say)
        while (step := decide(states := self.ebs.fast_restores(snapshot), zones)) != "done":
            if self.time.clock() >= deadline:
                say(
                    f"fast restore of {name} is not ready after {human_seconds(seconds)} ({_words(states)}): clones are made all "
                    "the same and get their blocks as they are read; it is billed as long as it is on"
                )
                return
            # once: what EC2 says may lag behind what it was told
            if step == "switch" and not switched:
                self._switch(name, snapshot, states, zones)
                switched = True
            else:
                say(f"fast restore of {name}: {_words(states)} (at most {human_seconds(seconds)})")
            self.time.sleep(LOOK_SECONDS)
        if zones:
            at_once, hourly = credits(gib)
            say(
                f"fast restore of {name} is ready: {at_once} clones at once, {hourly:.1f} more an hour; those beyond are lazy"
            )

    def end(self, name: str, snapshot: str) -> None:
        """Switch it off wherever it is on. Raises CloudError."""
        states = self.ebs.fast_restores(snapshot)
        if on(states):
            self._switch(name, snapshot, states, ())

    def _switch(self, name: str, snapshot: str, states: Mapping[str, str], zones: Collection[str]) -> None:
        more, fewer = sorted(set(zones) - on(states)), sorted(on(states) - set(zones))
        if more:
            self.tell_price(name, more)
        if fewer:
            self.reporter.say(f"fast restore of {name} in {', '.join(fewer)} is switched off: it was billed")
        self.ebs.set_fast_restore(snapshot, more, fewer)


def _words(states: Mapping[str, str]) -> str:
    return ", ".join(f"{state} in {zone}" for zone, state in sorted(states.items())) or "not on"

"""Fast snapshot restore of a snapshot in EC2: switched as the model's file says, waited for, ended where it only costs.

A snapshot and a zone are billed by the minute, an hour at least, from the moment it is switched on; deleting the snapshot
ends it. Only what is made once its state is `enabled` is fast, and of that as many as there are credits.
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-fast-snapshot-restore.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from tasks.cloud.ebs import Ebs
from tasks.records.progress import Reporter
from tasks.records.quantities import human_seconds

LOOK_SECONDS = 1.0
ON = frozenset({"enabling", "optimizing", "enabled"})
SECONDS_A_TIB = 3600.0
MOST_CREDITS = 10


class Step(Enum):
    """The next step towards fast restore in the zones that are wanted, and in no other."""

    SWITCH = "switch"
    WAIT = "wait"  # it is on, and not ready yet; or it is going off where it is wanted
    DONE = "done"


def decide(states: Mapping[str, str], wanted: Collection[str]) -> Step:
    """`states`: EC2's state by zone. Pure."""
    if any(states.get(zone) == "disabling" for zone in wanted):
        return Step.WAIT
    if on(states) != set(wanted):
        return Step.SWITCH
    return Step.DONE if all(states[zone] == "enabled" for zone in wanted) else Step.WAIT


def on(states: Mapping[str, str]) -> set[str]:
    """Zones it is on in, and billed. Pure."""
    return {zone for zone, state in states.items() if state in ON}


def ready_seconds(gib: int) -> float:
    """The longest a snapshot of so many GiB may take: twice the hour EBS needs for a TiB, and a minute to begin."""
    return 60.0 + 2 * SECONDS_A_TIB * gib / 1024


def credits(gib: int) -> tuple[int, float]:
    """(clones that can be fast at once, those that fill up in an hour, from none on) of a snapshot of so many GiB.

    https://docs.aws.amazon.com/ebs/latest/userguide/volume-creation-credits.html
    """
    hourly = min(float(MOST_CREDITS), 1024 / max(1, gib))
    return max(1, int(hourly)), hourly


@dataclass
class FastRestore:
    ebs: Ebs
    reporter: Reporter
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def tell_price(self, name: str, zones: Collection[str]) -> None:
        usd = self.ebs.prices.told(self.ebs.prices.fast_restore(len(zones)))
        self.reporter.say(
            f"fast restore of {name} in {', '.join(sorted(zones))} is switched on: {usd}, as long as it is"
        )

    def converge(self, name: str, snapshot: str, gib: int, zones: Collection[str]) -> None:
        """Fast restore of the EC2 snapshot in `zones` and in no other, ready to be cloned. Where it is not within
        `ready_seconds`, that is said and the clones are made all the same. Raises CloudError where EC2 refuses it."""
        seconds = ready_seconds(gib)
        end, told, switched = self.clock() + seconds, "", False
        while (step := decide(states := self.ebs.fast_restores(snapshot), zones)) is not Step.DONE:
            if self.clock() >= end:
                self.reporter.say(
                    f"fast restore of {name} is not ready after {human_seconds(seconds)} ({_words(states)}): clones are made all "
                    "the same and get their blocks as they are read; it is billed as long as it is on"
                )
                return
            if step is Step.SWITCH and not switched:  # once: what EC2 says may lag behind what it was told
                self._switch(name, snapshot, states, zones)
                switched = True
            elif told != (told := _words(states)):
                self.reporter.say(f"fast restore of {name}: {told} (at most {human_seconds(seconds)})")
            self.sleep(LOOK_SECONDS)
        if zones:
            at_once, hourly = credits(gib)
            self.reporter.say(
                f"fast restore of {name} is ready: {at_once} clones at once, {hourly:.1f} more an hour; those beyond are lazy"
            )

    def end(self, name: str, snapshot: str) -> None:
        """Off everywhere, where it is on. Raises CloudError."""
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

"""What a release promises beside answering, and when each promise was last seen to act: drills, their settings and records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pydantic import Field

from tasks.records.errors import SlipwayError
from tasks.records.quantities import Seconds
from tasks.records.record import Record

# wake: from no replica and no node to an answer; scale-out: load brings a second replica that answers; scale-in: without load
# it and its node go, and no request fails; rollback: the release before serves, and then this one again
Promise = Literal["wake", "scale-out", "scale-in", "rollback"]
PROMISES: tuple[Promise, ...] = get_args(Promise)
Outcome = Literal["kept", "broken", "not promised", "not now"]


class DrillSettings(Record):
    """When an environment's models are drilled, and for how long a drill proves a promise."""

    cron: str | None = Field(
        "0 3 * * sun",
        pattern=r"^\S+( \S+){4}$",
        description="when every model that serves is drilled, where drills may run; null: by hand alone",
    )
    timezone: str = Field("UTC", description="of the tz database: Europe/Berlin")
    unproven_after: Seconds = Field(
        30 * 86_400.0, gt=0, description="a promise that was not seen to act for so long is shown as unproven"
    )
    in_protected: bool = Field(
        False, description="drills may run though the environment is protected; default: `--in-protected`"
    )


class DrillStep(Record):
    """One state that was reached, and the seconds from the promise's first look to it."""

    what: str
    seconds: float


class Drilled(Record):
    """What a drill saw of one promise."""

    promise: Promise
    outcome: Outcome
    at: datetime
    release: str
    steps: tuple[DrillStep, ...] = ()
    cause: str = Field("", description="why it is broken, not promised, or not drilled now")
    evidence: tuple[str, ...] = ()
    next_command: str = ""

    @classmethod
    def broken(
        cls, promise: Promise, release: str, steps: tuple[DrillStep, ...], failure: SlipwayError
    ) -> Drilled:
        """A promise that failed with an error."""
        return cls(
            promise=promise,
            outcome="broken",
            at=datetime.now(UTC),
            release=release,
            steps=steps,
            cause=failure.cause,
            evidence=failure.evidence,
            next_command=failure.next_command or "",
        )

    @property
    def is_conclusive(self) -> bool:
        """Whether the promise was put to the test."""
        return self.outcome in ("kept", "broken")


class Drills(Record):
    """Of one model in one environment: each promise's last test, and when it was last seen to act."""

    last: dict[Promise, Drilled] = Field(default_factory=dict, description="the last that was conclusive")
    acted: dict[Promise, datetime] = Field(default_factory=dict, description="when each was last seen to act")

    def after(self, drilled: Drilled) -> Drills:
        """With one more result; one that is not conclusive changes nothing."""
        if not drilled.is_conclusive:
            return self
        acted = {drilled.promise: drilled.at} if drilled.outcome == "kept" else {}
        return Drills(last=self.last | {drilled.promise: drilled}, acted=self.acted | acted)


class PromiseState(Record):
    """One promise as `slipway status` shows it."""

    promise: Promise
    state: Literal["acted", "unproven", "broken"]
    at: datetime | None = Field(None, description="when it was last seen to act")
    why: str = ""
    next_command: str = ""

    def __str__(self) -> str:
        last = f"last seen to act {self.at:%Y-%m-%d %H:%M} UTC" if self.at else "never seen to act"
        if self.state == "acted":
            return f"{self.promise}: {last}"
        return f"{self.promise}: {self.state.upper()}: {self.why or last}{f'; {last}' if self.why else ''}"


def states_of(
    promised: tuple[Promise, ...], drills: Drills, now: datetime, unproven_after: float, drill: str
) -> tuple[PromiseState, ...]:
    """Each promise's state. A failure later than the last success is broken; a success too long ago proves nothing. Pure.

    `drill`: the command that drills.
    """
    found = []
    for promise in promised:
        at, last = drills.acted.get(promise), drills.last.get(promise)
        if last and last.outcome == "broken" and (at is None or last.at > at):
            found.append(
                PromiseState(
                    promise=promise, state="broken", at=at, why=last.cause, next_command=last.next_command
                )
            )
        elif at and now - at <= timedelta(seconds=unproven_after):
            found.append(PromiseState(promise=promise, state="acted", at=at))
        else:
            found.append(PromiseState(promise=promise, state="unproven", at=at, next_command=drill))
    return tuple(found)

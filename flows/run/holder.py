"""Who holds a cluster's turn, and whether another run may take it: decided without a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tasks.records.owner import Owner, is_alive

BEAT_SECONDS = 5.0
# a holder that cannot reach the server for so long stops by itself ...
LOST_SECONDS = 60.0
# ... before a waiter that saw no beat for so long takes over: Prefect's client retries one request for a minute
SILENT_SECONDS = 180.0
# an ended run beats no more; one beat may be under way
ENDED_SECONDS = 2 * BEAT_SECONDS

Verdict = Literal["wait", "ended", "killed", "silent"]


@dataclass(frozen=True)
class Holder:
    """The value of the turn's variable: a flow run, its process, and a number that grows while it works."""

    run: str
    name: str
    host: str
    boot: str
    pid: int
    began: str
    beat: int = 0

    @classmethod
    def of(cls, run: str, name: str, me: Owner) -> Holder:
        return cls(run, name, me.host, me.boot, me.pid, me.pid_began)

    @classmethod
    def read(cls, value: Any) -> Holder:
        """Raises TypeError for a value that this version did not write."""
        return cls(**value)

    def lives_on(self, here: Owner) -> bool | None:
        """Whether its process runs; None where it is another host's and cannot be seen from `here`."""
        if (self.host, self.boot) != (here.host, here.boot):
            return None
        return is_alive(self.pid, self.began)


def judge(*, alive: bool | None, quiet: float, over: bool) -> Verdict:
    """Whether a waiter may take the turn. Pure.

    Args:
        alive: whether the holder's process runs, None where that cannot be seen.
        quiet: seconds since the waiter saw another beat.
        over: the holder's flow run is in a final state.
    """
    if alive is False:
        return "killed"
    if quiet >= SILENT_SECONDS:
        return "silent"
    if over and alive is None and quiet >= ENDED_SECONDS:
        return "ended"
    return "wait"

"""The way to the hub: its address and token, and for one transfer the session, the shared pause and the stop."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.cloud.waiting import REAL, Time
from tasks.records.progress import Reporter, Silent
from tasks.staging.backoff import Backoff
from tasks.staging.session import HubSession, hub_endpoint
from tasks.staging.stop import Stop


@dataclass(frozen=True)
class HubLink:
    """What the threads of one transfer share."""

    session: HubSession
    backoff: Backoff
    stop: Stop


@dataclass(frozen=True)
class Hub:
    """How the hub is asked. `chance`: a random number in 0..1, which spreads retries; `reporter` hears of them.

    `endpoint`: HF_ENDPOINT where it is set, else the public hub.
    """

    token: str | None = field(default=None, repr=False)
    endpoint: str = field(default_factory=hub_endpoint)
    reporter: Reporter = field(default_factory=Silent)
    time: Time = REAL
    chance: Callable[[], float] = random.random

    @property
    def token_given(self) -> bool:
        return bool(self.token)

    def backoff(self, stop: Stop) -> Backoff:
        return Backoff(stop, say=self.reporter.say, time=self.time, chance=self.chance)

    @contextmanager
    def linked(self, connections: int = 1) -> Iterator[HubLink]:
        """A session of so many connections, closed afterwards."""
        stop = Stop()
        session = HubSession(self.endpoint, self.token, connections=connections)
        try:
            yield HubLink(session, self.backoff(stop), stop)
        finally:
            session.close()

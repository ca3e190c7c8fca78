"""What is kept of a load while it runs: a few numbers of each request, in arrays, and how many gaps had each length.

60,000 requests of 128 tokens take 3 MiB; the bytes of their answers would take 2 GiB.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter

from tasks.validation.load.instructions import Good
from tasks.validation.load.wire import Outcome

GAP_SECONDS = 10e-6  # gaps between tokens are counted in steps of this
MOST_MESSAGES = 20
NONE = math.nan


class Tally:
    """Requests of the window, in the order they ended. `begin`: when the window began, on the clock of `due`."""

    def __init__(self, good: Good, begin: float = 0.0) -> None:
        self.begin = begin
        self._bounds = good
        self.due, self.lateness = array("d"), array("d")
        self.ttft, self.tpot, self.e2e = array("d"), array("d"), array("d")
        self.output_tokens, self.prompt_tokens = array("l"), array("l")
        self.ok = array("b")
        self.good = 0
        self.failures: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self.gaps: Counter[int] = Counter()
        self.warmup_failures = 0

    def __len__(self) -> int:
        return len(self.due)

    def add(self, outcome: Outcome) -> None:
        """Add a request that has ended; of the warm-up only whether it failed, and why."""
        self._hear(outcome)
        if not outcome.counted:
            self.warmup_failures += bool(outcome.failure)
            return
        self.due.append(outcome.due - self.begin)
        self.lateness.append(outcome.lateness)
        self.ttft.append(NONE if outcome.ttft is None else outcome.ttft)
        self.tpot.append(NONE if outcome.tpot is None else outcome.tpot)
        self.e2e.append(NONE if outcome.e2e is None else outcome.e2e)
        self.output_tokens.append(outcome.output_tokens)
        self.prompt_tokens.append(outcome.prompt_tokens)
        self.ok.append(not outcome.failure)
        if outcome.failure:
            self.failures[outcome.failure] += 1
        else:
            gaps = self.gaps
            for gap in outcome.gaps:
                gaps[int(gap / GAP_SECONDS + 0.5)] += 1
        self.good += is_good(outcome, self._bounds)

    def _hear(self, outcome: Outcome) -> None:
        """Keep the server's first words for each kind of failure."""
        if outcome.message and outcome.failure not in self.messages and len(self.messages) < MOST_MESSAGES:
            self.messages[outcome.failure] = outcome.message


def is_good(outcome: Outcome, good: Good) -> bool:
    """Whether a request succeeded within every bound it has a figure for."""
    if outcome.failure:
        return False
    bounds = ((good.ttft, outcome.ttft), (good.tpot, outcome.tpot), (good.e2e, outcome.e2e))
    return all(bound is None or value is None or value <= bound for bound, value in bounds)

"""What is kept of a load while it runs: a few numbers a request, in arrays, and how many gaps there were of each length.

60,000 requests of 128 tokens are 3 MiB here; as the bytes that came they were 2 GiB.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter

from tasks.records.objectives import EachRequest, Objectives
from tasks.validation.wire import Outcome

GAP_SECONDS = 10e-6  # gaps between tokens are counted in steps of this
NONE = math.nan


class Tally:
    """Requests of the window, in the order they ended. `begin` is when the window did, on the same clock as `due`."""

    def __init__(self, objectives: Objectives, begin: float = 0.0) -> None:
        self.begin = begin
        self._each = objectives.each
        self.due, self.lateness = array("d"), array("d")
        self.ttft, self.tpot, self.e2e = array("d"), array("d"), array("d")
        self.output_tokens, self.prompt_tokens = array("l"), array("l")
        self.ok = array("b")
        self.good = 0
        self.failures: Counter[str] = Counter()
        self.gaps: Counter[int] = Counter()
        self.warmup_failures = 0

    def __len__(self) -> int:
        return len(self.due)

    def add(self, outcome: Outcome) -> None:
        """One that has ended; of the warm-up only how many failed."""
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
        self.good += is_good(outcome, self._each)


def is_good(outcome: Outcome, each: EachRequest) -> bool:
    """Whether a request succeeded within every bound that is set and that it has a figure for."""
    if outcome.failure:
        return False
    bounds = ((each.ttft, outcome.ttft), (each.tpot, outcome.tpot), (each.e2e, outcome.e2e))
    return all(bound is None or value is None or value <= bound for bound, value in bounds)

"""Growing pauses, as the kubelet's flow control has them: doubled up to a cap, forgotten after a long good run."""

from __future__ import annotations


class Backoff:
    """Pauses in seconds: base, 2 base, … up to 30 base; a run of 60 base forgets. The kubelet's base is 10 s."""

    def __init__(self, base: float, *, first_free: bool = False) -> None:
        self._base, self._first_free = base, first_free
        self._next = 0.0 if first_free else base

    def pause(self, ran_for: float = 0.0) -> float:
        """The pause after an attempt that lasted `ran_for` seconds; zero for the first where `first_free`."""
        if ran_for >= 60 * self._base:
            self._next = 0.0 if self._first_free else self._base
        now = self._next
        self._next = min(max(2 * now, self._base), 30 * self._base)
        return now

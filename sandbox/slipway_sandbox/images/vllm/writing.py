"""Turn a sequence's tokens into text: stop strings, the end of the sequence, and text held back until it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slipway_sandbox.images.vllm.text import Continuation, Text


@dataclass(frozen=True)
class Sampling:
    """A request's parameters that decide when a sequence ends. `seed` and `choice` select its content."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop_str: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """New text and tokens since the last step; `finish_reason` is set on the last one."""

    text: str
    tokens: int
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class Writer:
    """Turns tokens into text; handles stop strings, the end of sequence, and text held back until it is certain."""

    def __init__(self, text: Text, prompt: Sequence[int], sampling: Sampling, choice: int) -> None:
        self._sampling = sampling
        self._continuation = Continuation(text, prompt, sampling.seed, choice)
        self._eos = text.eos_token_id
        self._tokens = 0
        self._output, self._sent = "", 0
        # hold back what may be the beginning of a stop string
        held = max(map(len, sampling.stop), default=1) - 1
        self._held = 0 if sampling.include_stop_str else held
        natural = max(self._continuation.natural_length, sampling.min_tokens + 1)
        self._natural = None if sampling.ignore_eos or self._eos is None else natural

    def take(self, count: int) -> Step:
        """Take up to `count` tokens; fewer if the sequence ends."""
        for taken in range(1, count + 1):
            if ended := self._advance():
                reason, why = ended
                return Step(self._emit(final=True), taken, reason, why)
        return Step(self._emit(final=False), count)

    def _advance(self) -> tuple[str, str | int | None] | None:
        self._tokens += 1
        sampling = self._sampling
        if self._natural is not None and self._tokens >= self._natural:
            return "stop", None
        token, text = self._continuation.next()
        before = len(self._output)
        self._output += text
        if self._tokens > sampling.min_tokens:
            if token in sampling.stop_token_ids:
                return "stop", token
            if (stop := self._stop_string(before)) is not None:
                return "stop", stop
        return ("length", None) if self._tokens >= sampling.max_tokens else None

    def _stop_string(self, before: int) -> str | None:
        best: tuple[int, str] | None = None
        for stop in self._sampling.stop:
            found = self._output.find(stop, max(before - len(stop) + 1, 0))
            if found >= 0 and (best is None or found < best[0]):
                best = found, stop
        if best is None:
            return None
        found, stop = best
        self._output = self._output[: found + (len(stop) if self._sampling.include_stop_str else 0)]
        return stop

    def _emit(self, *, final: bool) -> str:
        end = len(self._output) if final else max(len(self._output) - self._held, self._sent)
        text, self._sent = self._output[self._sent : end], max(end, self._sent)
        return text

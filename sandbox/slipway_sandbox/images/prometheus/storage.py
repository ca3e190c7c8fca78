"""Keep samples in memory, bounded by age and number. Times are seconds since 1970, to the millisecond."""

from __future__ import annotations

import math
import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]  # sorted by name; __name__ is one of them
LOOKBACK_SECONDS = 300.0
# Prometheus's stale marker: a NaN with these bits (model/value, StaleNaN).
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
_STALE_BITS = struct.pack("<d", STALE)


class TooManySeries(Exception):
    """The limit of series is reached; the scrape is not stored."""


def is_stale(value: float) -> bool:
    return math.isnan(value) and struct.pack("<d", value) == _STALE_BITS


@dataclass(frozen=True)
class Matcher:
    """`label op value`; op is = != =~ or !~. A regular expression matches the whole value."""

    label: str
    op: str
    value: str

    @property
    def is_valid(self) -> bool:
        """Whether a regular expression (RE2 syntax) compiles in Python too."""
        try:
            self._pattern()
        except re.error:
            return False
        return True

    def accepts(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label, "")
        if "~" in self.op:
            return (self._pattern().fullmatch(value) is not None) == (self.op == "=~")
        return (value == self.value) == (self.op == "=")

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.value if "~" in self.op else "", re.DOTALL)  # re caches it


@dataclass
class Series:
    labels: Mapping[str, str]
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def at(self, time: float) -> tuple[float, float] | None:
        """The newest sample of the five minutes up to `time`; None if the series ended before."""
        index = bisect_right(self.times, time) - 1
        if index < 0 or self.times[index] <= time - LOOKBACK_SECONDS or is_stale(self.values[index]):
            return None
        return self.times[index], self.values[index]

    def within(self, after: float, until: float) -> list[tuple[float, float]]:
        """The raw samples of (after, until]."""
        first, last = bisect_right(self.times, after), bisect_right(self.times, until)
        pairs = zip(self.times[first:last], self.values[first:last], strict=True)
        return [pair for pair in pairs if not is_stale(pair[1])]

    def forget_before(self, time: float) -> int:
        """Drop older samples; return how many."""
        count = bisect_right(self.times, time)
        del self.times[:count]
        del self.values[:count]
        return count


class Storage:
    """Series by name; beyond `retention_seconds` or `sample_limit` the oldest samples are dropped first."""

    def __init__(
        self,
        retention_seconds: float = 7200.0,
        sample_limit: int = 4_000_000,
        series_limit: int = 50_000,
    ) -> None:
        self._retention, self._sample_limit, self._series_limit = (
            retention_seconds,
            sample_limit,
            series_limit,
        )
        self._names: dict[str, dict[Labels, Series]] = {}
        self._samples = 0
        self._series = 0
        self._last_sweep = -math.inf

    @property
    def samples(self) -> int:
        return self._samples

    def append(self, time: float, samples: Iterable[tuple[Labels, float]]) -> None:
        """Store one scrape. A sample not newer than its series' last is dropped. Raises TooManySeries."""
        time = round(time, 3)
        for labels, value in samples:
            series = self._get(labels)
            if series.times and series.times[-1] >= time:
                continue
            series.times.append(time)
            series.values.append(value)
            self._samples += 1
        self._sweep(time)

    def select(self, matchers: Sequence[Matcher]) -> list[Series]:
        """All series that the matchers accept."""
        exact = next((m.value for m in matchers if m.label == "__name__" and m.op == "="), None)
        groups = [self._names.get(exact, {})] if exact is not None else list(self._names.values())
        return [
            series
            for group in groups
            for series in group.values()
            if all(matcher.accepts(series.labels) for matcher in matchers)
        ]

    def _get(self, labels: Labels) -> Series:
        name = next((value for label, value in labels if label == "__name__"), "")
        group = self._names.setdefault(name, {})
        series = group.get(labels)
        if series is None:
            if self._series >= self._series_limit:
                raise TooManySeries(f"{self._series} series are stored, which is the limit")
            series = group[labels] = Series(dict(labels))
            self._series += 1
        return series

    def _sweep(self, now: float) -> None:
        if self._samples > self._sample_limit:
            self._forget(self._middle())
        elif now - self._last_sweep > self._retention / 20:
            self._forget(now - self._retention)
            self._last_sweep = now

    def _middle(self) -> float:
        """A time older than about half of all samples."""
        halves = sorted(
            series.times[len(series.times) // 2]
            for group in self._names.values()
            for series in group.values()
            if series.times
        )
        return halves[len(halves) // 2]

    def _forget(self, before: float) -> None:
        for name, group in list(self._names.items()):
            for labels, series in list(group.items()):
                self._samples -= series.forget_before(before)
                if not series.times:
                    del group[labels]
                    self._series -= 1
            if not group:
                del self._names[name]

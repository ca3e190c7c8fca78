"""Who asks: tokens, and how many requests each may make.

Quotas and headers: https://huggingface.co/docs/hub/rate-limits (fixed windows of 5 minutes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 300
_TABLE_LIMIT = 10_000  # callers remembered at once


@dataclass(frozen=True)
class Account:
    """`accepted`: whether this user was let into the gated repositories. `quotas`: requests a window."""

    name: str
    accepted: bool
    quotas: tuple[tuple[str, int], ...]


_FREE = (("api", 1_000), ("resolvers", 5_000), ("pages", 200))
_ENTERPRISE = (("api", 6_000), ("resolvers", 50_000), ("pages", 600))

ANONYMOUS = Account("", False, (("api", 500), ("resolvers", 3_000), ("pages", 100)))
ACCOUNTS: dict[str, Account] = {
    "hf_sandbox_reader": Account("sandbox-reader", True, _ENTERPRISE),
    "hf_sandbox_stranger": Account("sandbox-stranger", False, _FREE),
}


@dataclass(frozen=True)
class Allowance:
    """What is left of a window. `reset_seconds` counts down to the next one."""

    bucket: str
    quota: int
    remaining: int
    reset_seconds: int
    refused: bool

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit": f'"{self.bucket}";r={self.remaining};t={self.reset_seconds}',
            "RateLimit-Policy": f'"fixed window";"{self.bucket}";q={self.quota};w={WINDOW_SECONDS}',
        }


class RateLimiter:
    """Counts each caller's requests in fixed windows. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window = -1
        self._used: dict[tuple[str, str], int] = {}

    def take(self, caller: str, account: Account, bucket: str) -> Allowance:
        """Count one request of `caller` (an account's name, or an address)."""
        now = self._clock()
        window = int(now // WINDOW_SECONDS)
        if window != self._window or len(self._used) > _TABLE_LIMIT:
            self._window, self._used = window, {}
        used = self._used[caller, bucket] = self._used.get((caller, bucket), 0) + 1
        quota = dict(account.quotas)[bucket]
        left = WINDOW_SECONDS - int(now % WINDOW_SECONDS)
        return Allowance(bucket, quota, max(0, quota - used), left, used > quota)

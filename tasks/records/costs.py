"""What serving costs, as figures of their own basis: they are never added up or compared. Pure."""

from __future__ import annotations

MILLION = 1e6
HOUR = 3600.0


def usd_per_million(usd_per_hour: float, tokens_per_second: float) -> float | None:
    """USD per million tokens at a steady rate; None where no token is made."""
    return usd_per_hour * MILLION / (tokens_per_second * HOUR) if tokens_per_second > 0 else None

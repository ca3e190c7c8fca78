"""Times as Kubernetes writes them on the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp() -> str:
    """metav1.Time: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """metav1.MicroTime: RFC 3339, UTC, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""How a new release takes over from the one that serves: what may be asked for, and what is done."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal


class Strategy(StrEnum):
    """A model's file asks for all of them but `rolling`; a rollout is carried out by all of them but `auto`."""

    AUTO = "auto"
    """surge where a GPU is free, else rolling or recreate"""
    SURGE = "surge"
    """new replicas come up beside the old ones, on free GPUs"""
    ROLLING = "rolling"
    """old replicas make room for new ones, a few at a time; or there are none"""
    RECREATE = "recreate"
    """all old replicas end before the new ones start"""
    BLUE_GREEN = "blue-green"
    """the release proves itself on a Deployment of its own first"""


Asked = Literal[Strategy.AUTO, Strategy.SURGE, Strategy.RECREATE, Strategy.BLUE_GREEN]
Taken = Literal[Strategy.SURGE, Strategy.ROLLING, Strategy.RECREATE, Strategy.BLUE_GREEN]

# as ledgers before this enum have them
_OLD = {"RollingUpdate": Strategy.ROLLING, "Recreate": Strategy.RECREATE}


def asked_for(value: Any) -> Any:
    """Refuse a value that no model's file may have, in the words of the file."""
    allowed = [str(one) for one in Strategy if one is not Strategy.ROLLING]
    if value not in allowed:
        raise ValueError(f"must be {', '.join(allowed[:-1])} or {allowed[-1]}")
    return Strategy(value)


def as_written(value: Any) -> Any:
    """Read the spelling of older ledgers too."""
    return _OLD.get(value, value) if isinstance(value, str) else value

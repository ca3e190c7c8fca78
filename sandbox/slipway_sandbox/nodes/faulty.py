"""Faults that are a state rather than a strike: on for as long as they are switched on."""

from __future__ import annotations

from fnmatch import fnmatchcase

from slipway_sandbox.faults import CATALOGUE, Faults, UnknownFault


def is_on(faults: Faults, name: str, target: str) -> bool:
    """Whether a fault of that name covers `target` now; uses up none of its count. Raises UnknownFault."""
    if name not in CATALOGUE:
        raise UnknownFault(name)
    return any(fault.name == name and fnmatchcase(target, fault.target) for fault in faults.active())

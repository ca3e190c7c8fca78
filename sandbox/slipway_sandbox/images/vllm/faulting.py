"""Read the engine's faults, which target a served model name or a pod name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from slipway_sandbox.faults import Fault, Faults


class EngineFaults:
    """`struck("engine-stall")`: the fault if it is on for one of this engine's names and strikes now."""

    def __init__(self, faults: Faults, names: Sequence[str]) -> None:
        self._faults, self._names = faults, tuple(names)

    def struck(self, name: str) -> Fault | None:
        targets = [fault.target for fault in self._faults.active() if fault.name == name]
        for own in self._names:
            if any(fnmatchcase(own, target) for target in targets):
                return self._faults.hit(name, own)
        return None

    def lasts(self, fault: Fault) -> bool:
        """Whether a fault that makes the engine wait is still on."""
        return self._faults.lasts(fault)

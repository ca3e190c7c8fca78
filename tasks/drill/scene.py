"""What an explanation of a promise that was not kept goes by, and what it gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.drill.observe import Details, Seen
from tasks.drill.stages import Known
from tasks.records import names


@dataclass(frozen=True)
class Finding:
    """Why a promise was not kept, and the command that shows or ends it. `tells`: False where the drill itself could not tell."""

    cause: str
    next_command: str
    evidence: tuple[str, ...] = ()
    tells: bool = True


@dataclass(frozen=True)
class Scene:
    """All that an explanation goes by. `stage`: the key of the one that was not reached."""

    stage: str
    known: Known
    seen: Seen
    details: Details

    @property
    def workload(self) -> str:
        return names.workload(self.known.model)

    @property
    def namespace(self) -> str:
        return self.known.environment.namespace

    @property
    def again(self) -> str:
        """Applies the release's own documents again."""
        return f"slipway deploy {self.known.model.name} -e {self.known.environment.name} --from-stage rollout"

    def kubectl(self, words: str) -> str:
        return f"kubectl -n {self.namespace} {words}"

    def live(self, kind: str, name: str | None = None) -> Mapping[str, Any] | None:
        return self.details.live.get((kind, name or self.workload))

    def differences(self, kind: str, name: str | None = None) -> list[str]:
        """What of an object is not as the release applied it."""
        applied = self.details.applied.get((kind, name or self.workload))
        return differences(applied, self.live(kind, name)) if applied else []


def differences(applied: Any, live: Any, path: str = "") -> list[str]:
    """The fields of `applied` that `live` has otherwise, as lines. What only `live` has is a default or somebody's label."""
    if isinstance(applied, Mapping):
        if not isinstance(live, Mapping):
            return [f"{path or 'it'} is not there"]
        return [
            line
            for key, value in applied.items()
            for line in differences(value, live.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(applied, list) and isinstance(live, list) and len(applied) == len(live):
        return [
            line
            for index, (one, other) in enumerate(zip(applied, live, strict=True))
            for line in differences(one, other, f"{path}[{index}]")
        ]
    return [] if applied == live else [f"{path} is {live}, and the release applied {applied}"]


def pairs(labels: Mapping[str, str]) -> str:
    """Labels as words: a=b, c=d."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "nothing"

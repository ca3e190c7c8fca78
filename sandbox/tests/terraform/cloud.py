"""Start the AWS that terraform's tests run against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_sandbox.clients import SandboxSession
from slipway_sandbox.settings import Settings
from slipway_sandbox.testing import start

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Cloud:
    """A running AWS of the sandbox, without a region behind it."""

    settings: Settings
    environment: Mapping[str, str]

    def client(self, service: str) -> Any:
        return SandboxSession(self.settings).client(service)


@contextmanager
def cloud(root: Path) -> Iterator[Cloud]:
    """AWS on a free port, with clusters and node groups that are ready at once, until the block ends."""
    speeds = {"cluster_boot_seconds": 0.6, "nodegroup_boot_seconds": 0.3, "addon_seconds": 0.2}
    with start(root, parts=("aws",), speeds=speeds) as running:
        yield Cloud(Settings.load(root), running.variables())

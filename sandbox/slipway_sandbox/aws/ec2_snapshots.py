"""EBS snapshots take time and keep their size: moto's are complete at once and grow with the volume they were taken of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models.elastic_block_store import Snapshot


def progress(started: datetime, now: datetime, seconds: float) -> int:
    """Percent of a snapshot that takes `seconds`."""
    share = (now - started).total_seconds() / seconds if seconds else 1.0
    return max(0, min(100, int(share * 100)))


def extend(seconds: float) -> None:
    """Give moto's snapshots a state by the time passed, and the size their volume had."""
    make = Snapshot.__init__

    def init(self: Any, *args: Any, **more: Any) -> None:
        make(self, *args, **more)
        self.taken_size = self.volume.size

    def percent(self: Any) -> int:
        return 100 if self.from_ami else progress(self.start_time, utcnow(), seconds)

    def keep(self: Any, _: str) -> None:
        """moto writes "completed" when it makes one."""

    replaced: dict[str, Any] = {
        "__init__": init,
        "status": property(lambda self: "completed" if percent(self) == 100 else "pending", keep),
        "progress": property(lambda self: f"{percent(self)}%"),
        "volume_size": property(lambda self: self.taken_size),
    }
    for name, member in replaced.items():
        setattr(Snapshot, name, member)

"""The request to stop what this process does. Every wait in tasks/cloud sees it."""

from __future__ import annotations

import threading
from typing import Literal

Reason = Literal["", "interrupted", "cancelled", "lost"]


class Stop(threading.Event):
    """Ctrl-C, Cancel in the UI, or another run that took the turn. The first reason stays until `reset`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: Reason = ""

    def ask(self, reason: Reason) -> None:
        """Request a stop; a later request does not change why."""
        self.reason = self.reason or reason
        self.set()

    def reset(self) -> None:
        """Forget an earlier request, at the begin of a run."""
        self.reason = ""
        self.clear()


STOP = Stop()

"""The request to stop what this process does: Ctrl-C sets it, every wait in tasks/cloud sees it."""

from __future__ import annotations

import threading

STOP = threading.Event()

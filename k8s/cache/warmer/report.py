"""Lines for whoever watches the job: "SLIPWAY " and one JSON object with `event`.

Events: start, progress, file, note, error, done. Read by tasks/cache/observe.py.
"""

from __future__ import annotations

import json
import threading
from typing import Any

_SPEAKING = threading.Lock()


def tell(event: str, **fields: Any) -> None:
    """Print one whole line: several threads call this, and print() writes a line's end apart from the line."""
    with _SPEAKING:
        print("SLIPWAY " + json.dumps({"event": event, **fields}), flush=True)

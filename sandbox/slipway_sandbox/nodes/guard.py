"""Ends pod processes whose sandbox died without a word (kill -9): run as a script, standard library only.

PR_SET_PDEATHSIG would reach a pod's first process but not what that one started. This process instead holds the reading end
of a pipe whose writing end only the nodes' process has. Lines `+PGID` and `-PGID` tell which process groups live; at the end of
file, which comes however the writer ends, every living group is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it must outlive its parent, and ends by itself right after
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""Start a program that gets SIGINT when its parent dies, so that terraform never outlives a killed run.

    python -I -S launch.py PARENT_PID PROGRAM ARGUMENT...

terraform answers SIGINT by ending the calls in flight, writing its state and giving back its lock.
Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere the program just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    # an ignored SIGINT would be inherited
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        # the parent may have died before the call above
        if os.getppid() != parent:
            sys.exit("the run that asked for this is gone")
    os.execvp(program[0], program)  # noqa: S606


main()

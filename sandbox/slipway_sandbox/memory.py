"""What a process has freed goes back to the system: glibc keeps it for later."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """After something large was read and dropped, as moto and botocore do with their tables. Some milliseconds.

    By hand and then alone: with MALLOC_TRIM_THRESHOLD_ it would save more, but every large buffer of a transfer would be
    mapped anew, and the sandbox's S3 sends half as fast.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)

"""Fills a volume with a staged model, in the engine's image: `python3 FOLDER --bucket=…`; the standard library and boto3.

A restart goes on where the last run stopped: `.slipway-progress.json` says how many bytes of each file are on the disk; those
are read back from the disk, not from S3, and verified again. `.slipway-complete.json` is written last.
"""

from __future__ import annotations

import fcntl
import sys

from disk import DiskErrors
from exits import Exit, Failure
from fill import fill
from options import parsed
from report import tell
from source import client

LOCK = ".slipway.lock"


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    try:
        with DiskErrors("keeping its own records", options.root), (options.root / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(Exit.BUSY, "another warming holds this volume") from None
            s3, copied = client(options.threads), 0
            for part in options.parts:
                outcome = fill(part, s3)
                copied += outcome["bytes_copied"]
            outcome |= {"bytes_copied": copied}
    except Failure as failure:
        tell("error", code=failure.code, cause=failure.cause)
        return failure.code
    tell("done", **outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

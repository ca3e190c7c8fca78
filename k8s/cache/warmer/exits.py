"""Exit codes of the warm job. Written here only: the product reads this file (tasks/cache/exits.py), for the job's
podFailurePolicy and for what it tells people."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The numbers of sysexits.h; NO_SPACE is ENOSPC."""

    NO_SPACE = 28
    BAD_DATA = 65  # a checksum or the manifest is wrong
    NOT_FOUND = 66  # not in S3
    NO_ANSWER = 69  # S3 does not answer
    BAD_DISK = 74
    BUSY = 75  # another warming holds the volume
    DENIED = 77


# Another try of the same job ends the same way.
PERMANENT = frozenset({Exit.NO_SPACE, Exit.BAD_DATA, Exit.NOT_FOUND, Exit.DENIED})


class Failure(Exception):
    """Ends the job with an exit code and one sentence."""

    def __init__(self, code: int, cause: str) -> None:
        super().__init__(cause)
        self.code, self.cause = code, cause


class TornFile(Exception):
    """A file on the volume differs from the manifest, through an earlier run, the network or the disk: fetch it again."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path)
        self.path, self.cause = path, cause

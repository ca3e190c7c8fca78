"""Wait for a terraform state's lock, and break one whose owner is provably gone.

Terraform's own lock (`KEY.tflock`, S3 native locking) says only user@host. So each run writes `KEY.owner` beside it:
host, process, terraform's process and a heartbeat. An owner is gone when its processes are dead on this host, or its
heartbeat on another host is too old.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Literal

from botocore.exceptions import ClientError

from tasks.cloud.aws import aws_errors, error_code
from tasks.cloud.waiting import Time, changes, until
from tasks.records.errors import CloudError, StateLocked
from tasks.records.owner import Owner, is_alive, process_began, this_run

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 8 * HEARTBEAT_SECONDS
WALL_TIME = Time(time.time)  # heartbeats are compared between hosts


Decision = Literal["free", "wait", "break"]
# terraform's lock and the owner's record beside it, as they were read
_Seen = tuple[dict[str, Any] | None, dict[str, Any] | None]


def decide(
    lock_id: str | None, owner: Owner | None, *, here: Owner, now: float, alive: Callable[[int, str], bool]
) -> Decision:
    """What to do about a lock: nobody holds it, its owner lives, or its owner is provably gone. Pure."""
    if lock_id is None:
        return "free"
    if owner is None:
        # somebody else's terraform: nothing proves that it is gone
        return "wait"
    if (owner.host, owner.boot) == (here.host, here.boot):
        living = alive(owner.pid, owner.pid_began) or alive(owner.child, owner.child_began)
        return "wait" if living else "break"
    if owner.host == here.host:
        # that host has booted since
        return "break"
    return "break" if now - owner.heartbeat > STALE_SECONDS else "wait"


def _taken_since(lock: dict[str, Any] | None, owner: dict[str, Any]) -> bool:
    """Whether the lock is younger than the owner's last heartbeat, and so somebody else's."""
    if not lock or "Created" not in lock:
        return False
    return bool(_created(lock) > owner["heartbeat"] + 2 * HEARTBEAT_SECONDS)


def _created(lock: dict[str, Any]) -> float:
    """When terraform took the lock (seconds since the epoch); 0 where it does not say."""
    if "Created" not in lock:
        return 0.0
    # terraform writes nanoseconds; Python reads six digits
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", lock["Created"])).timestamp()


class StateLock:
    """The lock of one state object. `held()` wraps every terraform command that writes."""

    def __init__(
        self,
        s3: Any,
        bucket: str,
        key: str,
        *,
        time: Time = WALL_TIME,
    ) -> None:
        self._s3, self._bucket, self._key = s3, bucket, key
        self._time = time
        self._owner = this_run(time.clock())
        self._writing = threading.Lock()
        self._holding = False

    def wait_until_free(
        self, unlock: Callable[[str], None], *, patience: float, say: Callable[[str], None]
    ) -> None:
        """Wait while a living run holds the state; break a dead run's lock by `unlock(id)`.

        Raises StateLocked after `patience` seconds.
        """
        say_once = changes(say)
        seen: _Seen = None, None

        def decision() -> Decision:
            nonlocal seen
            seen = self._read(f"{self._key}.tflock"), self._read(f"{self._key}.owner")
            return self._decide(*seen)

        def is_free() -> bool:
            now = decision()
            if now == "break" and seen[0]:
                say(f"the lock of {self._key} belongs to a run that is gone: breaking it")
                unlock(seen[0]["ID"])
                now = decision()
            if now != "free":
                say_once(f"another run holds {self._key}: waiting up to {patience:.0f} s")
            return now == "free"

        def late() -> StateLocked:
            lock, owner = seen
            return StateLocked(
                f"the terraform state {self._key} is locked",
                evidence=[f"lock {lock}", f"owner {owner}"],
                next_command="wait for that run; if it is certainly gone: terraform force-unlock "
                + str(lock and lock["ID"]),
            )

        until(is_free, patience, late, self._time, every=1.0)

    def _decide(self, lock: dict[str, Any] | None, owner: dict[str, Any] | None) -> Decision:
        return decide(
            lock["ID"] if lock else None,
            Owner(**owner) if owner and not _taken_since(lock, owner) else None,
            here=self._owner,
            now=self._time.clock(),
            alive=is_alive,
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write the owner's record, refresh its heartbeat during the block, and delete it at the end.

        The record stays where a killed terraform left its lock: without it nobody could break that lock.
        """
        stop = threading.Event()
        self._holding, began = True, self._time.clock()
        self._write()
        beat = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join(HEARTBEAT_SECONDS)
            self._holding = False
            lock = self._read(f"{self._key}.tflock")
            # an older lock is somebody else's
            if lock is None or _created(lock) < began:
                with aws_errors("giving back the terraform state"):
                    self._s3.delete_object(Bucket=self._bucket, Key=f"{self._key}.owner")

    def started(self, pid: int) -> None:
        """Record terraform's process id, which must be dead too before anyone breaks the lock.

        Written only while this run holds the state: a command that reads (init, output) must not overwrite the holder.
        """
        self._owner = replace(self._owner, child=pid, child_began=process_began(pid))
        if self._holding:
            self._write()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            # STALE_SECONDS allow for eight heartbeats that fail
            with contextlib.suppress(CloudError):
                self._write()

    def _write(self) -> None:
        with self._writing, aws_errors("recording who holds the terraform state"):
            self._owner = replace(self._owner, heartbeat=self._time.clock())
            self._s3.put_object(
                Bucket=self._bucket, Key=f"{self._key}.owner", Body=json.dumps(asdict(self._owner)).encode()
            )

    def _read(self, key: str) -> dict[str, Any] | None:
        with aws_errors("looking who holds the terraform state"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return None
                raise
            document: dict[str, Any] = json.loads(answer["Body"].read())
            return document

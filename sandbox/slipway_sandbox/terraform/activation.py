"""Start the provider's fork server when Terraform asks for it; it ends when nobody has for a while, and is started anew."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

SOCKET = "provider.sock"
BACKLOG = 64
STOP_SECONDS = 5.0
LOOK_SECONDS = 1.0


def listen(folder: Path) -> socket.socket:
    """Bind SOCKET in `folder`, for this user alone."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(folder, os.O_RDONLY)
    try:
        # by the descriptor: the whole path may be longer than the 108 bytes of unix(7)
        path = Path(f"/proc/self/fd/{directory}/{SOCKET}")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
    finally:
        os.close(directory)
    listener.listen(BACKLOG)
    return listener


class Activation:
    """The socket in `folder`, and the fork server behind it while it is asked."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], follow: Callable[[], None] | None
    ) -> None:
        self._environment, self._follow = dict(environment), follow
        self._log = folder / "provider.log"
        self.pid: int | None = None  # of the fork server, once it runs
        self._listener = listen(folder)
        self._ended, self._end = os.pipe()
        # the child follows the thread that started it (PR_SET_PDEATHSIG): the thread lives as long as it may
        self._thread = threading.Thread(target=self._run, name="provider", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over(None, self._listener.fileno()):
            child = self._start()
            self.pid = child.pid
            while child.poll() is None:
                if self._is_over(LOOK_SECONDS):
                    _end(child)
                    return
            if child.returncode:
                # else Terraform would wait for it without end; so each provider is started by itself
                self._listener.close()
                return

    def _is_over(self, seconds: float | None, *others: int) -> bool:
        """Wait until `close` is called or another descriptor can be read; whether it is the former. None: without end."""
        ready, _, _ = select.select([self._ended, *others], [], [], seconds)
        return self._ended in ready

    def _start(self) -> subprocess.Popen[bytes]:
        number = self._listener.fileno()
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "slipway_sandbox.terraform.provider.forkserver", str(number)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=[number],
                start_new_session=True,
                preexec_fn=self._follow,
            )

    def close(self) -> None:
        """End the fork server; providers it has forked end with their Terraform."""
        os.close(self._end)
        self._thread.join(2 * STOP_SECONDS)
        self._listener.close()
        os.close(self._ended)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()

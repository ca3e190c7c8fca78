"""Fork server of the provider: one process that has everything imported, and forks for each start that Terraform asks for.

`python -m slipway_sandbox.terraform.provider.forkserver FD` takes connections from the listening socket FD (activation.py).
The executable that Terraform starts (install.py) sends one message, its working directory and its environment, with its
stdin, stdout and stderr, and lives as long as the provider: each ends when the other is gone.

A Python interpreter, gRPC and botocore's models take 0.7 s of CPU to load, and one deployment starts about 30 providers.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys

from slipway_sandbox.memory import give_back
from slipway_sandbox.service_models import read_lean
from slipway_sandbox.terraform.provider.resources import DATA_SOURCES, PROVIDER, RESOURCES
from slipway_sandbox.terraform.provider.server import certificate, serve
from slipway_sandbox.terraform.provider.servicer import Provider
from slipway_sandbox.terraform.provider.session import load_models

IDLE_SECONDS = float(os.environ.get("SLIPWAY_SANDBOX_PROVIDER_IDLE", "120"))  # then its 60 MiB are given back
MESSAGE_BYTES = 4 << 20  # no environment the kernel hands to a process is longer
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: ucred of SO_PEERCRED, unix(7)


def load() -> None:
    """Import what every provider needs: gRPC, the certificate's library, botocore and its models."""
    read_lean()
    certificate()
    load_models()
    give_back()
    gc.freeze()  # a collection in a child would copy the pages it shares with this process


def run(listener: socket.socket) -> None:
    """Fork a provider for each connection, until SIGTERM or until none has come for IDLE_SECONDS."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the children
    while select.select([listener], [], [], IDLE_SECONDS)[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _be_provider(connection)
        connection.close()


def _be_provider(connection: socket.socket) -> None:
    """Take over the starter's directory, environment and descriptors, and serve until it is gone. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    peer = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if peer[1] != os.getuid():
        os._exit(1)
    folder, variables, descriptors = receive(connection)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environb.update(variables)
    serve(
        Provider(PROVIDER, RESOURCES, DATA_SOURCES),
        lambda: bool(select.select([connection], [], [], 0)[0]),
    )


def receive(connection: socket.socket) -> tuple[bytes, dict[bytes, bytes], list[int]]:
    """Read a starter's message: 4 bytes of length, then directory, NUL and NAME=VALUE each; the descriptors come with it."""
    first, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    length = int.from_bytes(first, "big")
    if len(first) < 4 or len(descriptors) != 3 or length > MESSAGE_BYTES:
        os._exit(1)
    message = b""
    while len(message) < length:
        part = connection.recv(length - len(message))
        if not part:
            os._exit(1)
        message += part
    folder, *variables = message.split(b"\0")
    pairs = (variable.partition(b"=") for variable in variables)
    return folder, {name: value for name, _, value in pairs}, descriptors


if __name__ == "__main__":
    load()
    run(socket.socket(fileno=int(sys.argv[1])))

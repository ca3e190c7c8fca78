"""`python -m slipway_sandbox.images.litellm ARGUMENTS…`: become the Python of a real LiteLLM, on SLIPWAY_SANDBOX_POD_IP.

The program is `Settings.litellm_python`, of an environment that has LiteLLM; the sandbox installs none. Two things differ from a pod:
0.0.0.0 is the pod's own address, and Service names in LiteLLM's configuration are cluster IPs, as uvloop asks no hosts file of ours.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.settings import Settings

EVERYWHERE: Final = "0.0.0.0"
CONFIGURATION: Final = "CONFIG_FILE_PATH"
_SERVICE = re.compile(r"(?<=http://)[a-z0-9.-]+\.svc\.cluster\.local")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    program = Settings.from_environment().litellm_python
    if program is None:
        print("the sandbox has no LiteLLM: set SLIPWAY_LITELLM to the Python of one", file=sys.stderr)
        sys.exit(127)
    address = environment.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1")
    variables = {
        name: address if value == EVERYWHERE else value
        for name, value in environment.items()
        if name != "PYTHONPATH"
    }
    mounts = [Path(real) for real in json.loads(environment.get("SLIPWAY_SANDBOX_MOUNTS", "{}")).values()]
    found = [Path(part) for part in environment.get("PYTHONPATH", "").split(":") if part]
    own = [part for part in found if any(part.is_relative_to(mount) for mount in mounts)]
    if file := environment.get(CONFIGURATION):
        variables[CONFIGURATION] = str(resolved(Path(file), HostsFile.from_environment()))
    variables["PYTHONPATH"] = ":".join(map(str, own))
    words = [address if word == EVERYWHERE else word for word in arguments]
    os.execve(program, [program, *words], variables)  # noqa: S606 the container's process is LiteLLM itself


def resolved(file: Path, hosts: HostsFile) -> Path:
    """A copy of LiteLLM's configuration with cluster IPs, beside copies of the modules that it names."""
    folder = Path(tempfile.mkdtemp(prefix="litellm-"))
    for other in file.parent.iterdir():
        if other.is_file():
            (folder / other.name).write_bytes(other.read_bytes())
    copy = folder / file.name
    copy.write_text(_SERVICE.sub(lambda match: hosts.lookup(match[0]), file.read_text()))
    return copy


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)

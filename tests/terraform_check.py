"""`terraform fmt -check` and `validate` of both roots, as CI and people run it: python -m tests.terraform_check."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.terraform.install import install

ROOTS = ("storage", "cluster")


def main() -> int:
    project = Path(__file__).resolve().parents[1] / "infra" / "terraform"
    failed = 0
    with tempfile.TemporaryDirectory(prefix="slipway-terraform-") as scratch:
        environment = {**os.environ, **install(Path(scratch) / "tools"), "TF_IN_AUTOMATION": "1"}
        commands = [["fmt", "-check", "-recursive", "-diff", str(project)]]
        for root in ROOTS:
            work = Path(scratch) / root
            shutil.copytree(project / root, work, ignore=shutil.ignore_patterns(".terraform*"))
            commands += [
                [f"-chdir={work}", "init", "-backend=false", "-input=false", "-no-color"],
                [f"-chdir={work}", "validate", "-no-color"],
            ]
        terraform = shutil.which("terraform", path=environment["PATH"])
        assert terraform
        for command in commands:
            done = subprocess.run(
                [terraform, *command],
                env=environment,
                timeout=300,
                check=False,
                capture_output=True,
                text=True,
            )
            verb = next(word for word in command if not word.startswith("-"))
            print(f"terraform {verb}: {'ok' if done.returncode == 0 else 'FAILED'}")
            if done.returncode:
                print(done.stdout + done.stderr)
            failed += done.returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

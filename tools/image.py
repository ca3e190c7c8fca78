"""The contents of the Dockerfile in a clean folder, and a worker started from them: what can be seen of it without Docker.

    python -m tools.image [--python FILE]

It makes a virtual environment, installs requirements.lock with its hashes as the image does, copies what the Dockerfile
copies, and takes every right to write there away. As the image's user, with nothing of this checkout in reach, it calls
`slipway --help`, and in a sandbox `slipway render` and `slipway prefect apply`; then a worker runs `slipway-preflight`.
Run as root: it takes the image's user. What it leaves out: docs/workers.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.sandboxed import ROOT, sandbox

DOCKERFILE = ROOT / "Dockerfile"
INSTALL_SECONDS, COMMAND_SECONDS = 900.0, 300.0
ENVIRONMENT = "sandbox"
PREFLIGHT = ("--param", "model=tiny-llama")


def copied(dockerfile: str) -> list[tuple[str, str]]:
    """(source, target) of every COPY of the checkout; those of other images are left out. Pure."""
    found = []
    for words in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        *sources, target = words.split()
        found += [(source, target) for source in sources]
    return found


def user_of(dockerfile: str) -> int:
    """The image's user. Pure. Raises ValueError where it is root or not given."""
    found = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    if not found or int(found[-1]) == 0:
        raise ValueError("the Dockerfile names no user but root")
    return int(found[-1])


def lay_out(folder: Path, dockerfile: str) -> None:
    """The files of the checkout as the image has them."""
    for source, target in copied(dockerfile):
        to = folder / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__", ".terraform"))
        else:
            shutil.copy(ROOT / source, to / source if target.endswith("/") else to)


def install(home: Path, python: str) -> Path:
    """The image's packages in an environment of its own; its folder of programs. Raises CalledProcessError.

    By uv, which holds the same hashes to be right as the image's pip, in seconds.
    """
    venv = home.parent / "python"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "venv", "--quiet", "--python", python, str(venv)], check=True, timeout=INSTALL_SECONDS
    )
    pip = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--system-certs",
        "--link-mode",
        "copy",
        "--compile-bytecode",
        "--python",
        str(venv / "bin" / "python"),
    ]
    locked = [*pip, "--require-hashes", "--requirement", "requirements.lock"]
    subprocess.run(locked, cwd=home, check=True, timeout=INSTALL_SECONDS)
    subprocess.run([*pip, "--no-deps", "."], cwd=home, check=True, timeout=INSTALL_SECONDS)
    return venv / "bin"


class Root:
    """The clean folder, and commands in it as the image's user."""

    def __init__(
        self, home: Path, programs: Path, user: int, scratch: Path, given: Mapping[str, str]
    ) -> None:
        self._home, self._programs, self._user, self._scratch = home, programs, user, scratch
        self._given = given

    @property
    def variables(self) -> Mapping[str, str]:
        """What a container is given: addresses and credentials."""
        return {
            **self._given,
            "PATH": f"{self._programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._scratch),
            "SLIPWAY_HOME": str(self._home),
        }

    def words(self, program: str, *words: str) -> list[str]:
        drop = ["setpriv", "--reuid", str(self._user), "--regid", str(self._user), "--clear-groups"]
        return [*drop, "--no-new-privs", str(self._programs / program), *words]

    def run(self, program: str, *words: str) -> str:
        """What a command says. Ends this one where it fails."""
        done = subprocess.run(
            self.words(program, *words), cwd=self._home, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{program} {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    @contextlib.contextmanager
    def running(self, program: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self._scratch / f"{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                self.words(program, *words), cwd=self._home, env=self.variables, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def given_to(variables: Mapping[str, str]) -> dict[str, str]:
    """Of a sandbox's variables those that a container would be given. Pure."""
    named = ("AWS_", "HF_", "PREFECT_", "PROMETHEUS_", "DO_NOT_TRACK", "CHECKPOINT_", "SLIPWAY_REGISTRY_")
    return {name: value for name, value in variables.items() if name.startswith(named)}


def read_only(*folders: Path) -> None:
    """Let nobody but root write there, and everybody read."""
    for folder in folders:
        subprocess.run(["chmod", "-R", "a+rX,go-w", str(folder)], check=True)  # noqa: S607


def check(root: Root) -> None:
    said = root.run("slipway", "--help")
    print(f"slipway --help: {len(said.splitlines())} lines")
    said = root.run("python", "-c", "import flows, tasks; print(flows.__file__, tasks.__file__)")
    if str(ROOT) in said:
        sys.exit(f"the checkout is in reach: {said}")
    said = root.run("slipway", "render", "tiny-llama", "-e", ENVIRONMENT)
    print(f"slipway render: {len(re.findall('^kind: ', said, re.MULTILINE))} documents")
    said = root.run("slipway", "prefect", "apply", "-e", ENVIRONMENT)
    print(f"slipway prefect apply: {len(re.findall('^deployment ', said, re.MULTILINE))} deployments")
    pool = f"slipway-{ENVIRONMENT}"
    with root.running("prefect", "worker", "start", "--pool", pool, "--name", "image"):
        root.run("prefect", "deployment", "run", f"slipway-preflight/{ENVIRONMENT}", "--watch", *PREFLIGHT)
    print(f"prefect worker start --pool {pool}: a run of slipway-preflight completed")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.image", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--python", default="/usr/bin/python3.11", help="one that every user may run")
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("run it as root: it takes the image's user")
    dockerfile = DOCKERFILE.read_text()
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as folder:
        home, scratch = Path(folder) / "slipway", Path(folder) / "home"
        Path(folder).chmod(0o755)
        home.mkdir()
        scratch.mkdir()
        user = user_of(dockerfile)
        os.chown(scratch, user, user)
        lay_out(home, dockerfile)
        programs = install(home, given.python)
        read_only(home, programs.parent)
        print(f"installed from requirements.lock, as user {user}")
        beside = Path(folder) / "beside"
        beside.mkdir()
        with sandbox(beside) as variables:
            check(Root(home, programs, user, scratch, given_to(variables)))


if __name__ == "__main__":
    main()

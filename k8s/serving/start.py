"""Give vLLM a compile cache on the model's volume, then become vLLM; a start without one is never refused.

python3 -c PROGRAM KEY BYTES FLAGS...  KEY: a digest over image, commit, flags and variables; GPU and driver are added here.
Folders below SLIPWAY_COMPILE_CACHE are called KEY.POD. One is whole, and is used again, once it has the file `complete`, which
the startup probe writes: a start that was killed leaves files that vLLM could not read. BYTES bounds all of them together.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

KEPT = 4  # keys: releases that may be put back
STALE_SECONDS = 6 * 3600  # no start takes so long: what is not whole by then belongs to none
COMPLETE = "complete"
QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]


def key_of(given):
    """The key with the node's GPUs and driver, as hexadecimal digits. Raises OSError, subprocess.SubprocessError."""
    done = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True)
    gpus = sorted(line.strip() for line in done.stdout.splitlines() if line.strip())
    if not gpus:
        raise OSError("nvidia-smi lists no GPU")
    return hashlib.sha256("\n".join([given, *gpus]).encode()).hexdigest()[:16]


def size_of(folder):
    """Bytes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def used(folder):
    """When a whole folder was used last; None for one that is not whole."""
    try:
        return (folder / COMPLETE).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def tidy(root, key, pod, most, now):
    """Remove what belongs to no start, and old keys beyond the bounds; the folder of this key, None where there is none."""
    found = []
    for path in root.iterdir():
        at = used(path)
        if at is not None:
            found.append((path.name.startswith(key + "."), at, path))
        elif path.name.endswith("." + pod) or now - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    total, mine = 0, None
    for kept, (is_mine, _, folder) in enumerate(sorted(found, reverse=True)):
        total += size_of(folder)
        if total > most or kept >= KEPT:
            shutil.rmtree(folder)
        elif is_mine and mine is None:
            mine = folder
    return mine


def prepared(root, key, pod, most, now):
    """The folder for this start, and whether what is in it is used again. Raises OSError."""
    mine = tidy(root, key, pod, most, now)
    if mine:
        os.utime(mine / COMPLETE)
        return mine, True
    if shutil.disk_usage(root).free < most:
        raise OSError(f"the volume has less than {most} bytes left")
    mine = root / f"{key}.{pod}"
    mine.mkdir()
    (root / f".{pod}").write_text(mine.name)  # for the startup probe
    return mine, False


def main():
    given, most, *flags = sys.argv[1:]
    try:
        key = key_of(given)
        folder, again = prepared(
            Path(os.environ["SLIPWAY_COMPILE_CACHE"]), key, os.environ["POD_NAME"], int(most), time.time()
        )
        # vllm 0.32.0, envs.py: below VLLM_CACHE_ROOT are torch_compile_cache, flashinfer_autotune_cache and deep_gemm;
        # compilation/compiler_interface.py: TRITON_CACHE_DIR is taken as it is given; flashinfer-python 0.7.0.post1, jit/env.py
        os.environ["VLLM_CACHE_ROOT"] = str(folder / "vllm")
        os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
        os.environ["FLASHINFER_WORKSPACE_BASE"] = str(folder / "flashinfer")
        print(f"slipway: compile cache {key}: {'used again' if again else 'new'}", flush=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"slipway: no compile cache: {type(error).__name__}: {error}", flush=True)
    # the image's own entrypoint: vllm-project/vllm v0.32.0, docker/Dockerfile
    os.execvp("vllm", ["vllm", "serve", *flags])  # noqa: S606, S607


if __name__ == "__main__":
    main()

"""Proves the GPUs of a node: nvidia-smi lists each, each has its memory, and a matrix product by torch is right on each.

python3 -c PROGRAM GPUS LEAST_MIB; the last line of the log says what was found, and the exit code is 1 where something is wrong.
"""

import subprocess
import sys

import torch

SIZE = 2048
MIB = 2**20


def wrong(gpus, least_mib):
    """What is wrong, as a sentence; empty where nothing is."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    listed = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or len(listed) != gpus:
        return f"nvidia-smi lists {len(listed)} of {gpus} GPUs: {(done.stdout + done.stderr).strip()[-300:]}"
    if torch.cuda.device_count() != gpus:
        return f"torch finds {torch.cuda.device_count()} of {gpus} GPUs"
    for index in range(gpus):
        total = torch.cuda.mem_get_info(index)[1] // MIB
        if total < least_mib:
            return f"GPU {index} has {total} MiB, less than {least_mib}"
        device = f"cuda:{index}"
        product = torch.full((SIZE, SIZE), 3.0, device=device) @ torch.full((SIZE, SIZE), 0.5, device=device)
        low, high = product.min().item(), product.max().item()
        if low != 1.5 * SIZE or high != 1.5 * SIZE:
            return f"GPU {index}: a matrix product is {low} to {high}, not {1.5 * SIZE}"
    return ""


def main():
    try:
        found = wrong(int(sys.argv[1]), int(sys.argv[2]))
    except Exception as error:  # noqa: BLE001  whatever CUDA raises is what is wrong
        # CUDA says what it was in the first of several lines, and the last line of the log is what is told
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    print(found or f"{sys.argv[1]} GPUs work", flush=True)
    return 1 if found else 0


sys.exit(main())

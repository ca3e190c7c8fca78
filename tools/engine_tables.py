"""Write the tables of one vLLM version from its wheel: one command for engine_flags and engine_models.

pip download --no-deps --only-binary :all: vllm==0.34.0
python -m tools.engine_tables vllm-0.34.0-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from tools import engine_flags, engine_models
from tools.wheel import Wheel

PREFLIGHT = Path(__file__).resolve().parent.parent / "tasks" / "preflight"


def write(wheel: Path, target: Path = PREFLIGHT) -> list[Path]:
    """Write both tables below `target`; the files written. Raises ValueError for a wheel built in a way not known here."""
    flags = engine_flags.read(wheel)
    version = flags["version"]
    root = Wheel(zipfile.Path(wheel) if wheel.is_file() else wheel)
    source = (
        f"{wheel.name}: {engine_models.REGISTRY}, vllm.tool_parsers, vllm.reasoning, vllm.config, vllm.envs"
    )
    models = {"version": version, "source": source, **engine_models.read_models(root)}
    files = {
        target / "engine_flags" / f"{version}.json": engine_flags.written(flags),
        target / "engine_models" / f"{version}.json": engine_models.written(models),
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return list(files)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for file in write(Path(name)):
            sys.stdout.write(f"{file}\n")

"""A model of the tests' own, in the form of a repository: large enough for several parts, small enough to send in a moment."""

from __future__ import annotations

import json
import random
from pathlib import Path

MIB = 1 << 20
BIG, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
REPO = "acme/parts"


def write_repo(folder: Path) -> Path:
    """Two shards of several parts each, small files, an empty one, and one in a folder."""
    made = random.Random(7)
    (folder / "extra").mkdir(parents=True)
    for name, size in ((BIG, 23 * MIB + 17), (SECOND, 11 * MIB)):
        tensors = {"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size - 88]}}
        header = json.dumps(tensors).encode().ljust(80)
        (folder / name).write_bytes((80).to_bytes(8, "little") + header + made.randbytes(size - 88))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "empty.txt").write_text("")
    (folder / "extra" / "notes on it.md").write_text("a name with spaces")
    return folder

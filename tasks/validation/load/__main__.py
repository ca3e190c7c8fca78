"""The generator's process: instructions in a file, lines of JSON on stdout, a message on stderr where it fails."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

try:
    import uvloop
except ImportError:  # a plain Python image: asyncio's own loop
    run = asyncio.run
else:
    run = uvloop.run

from tasks.records.errors import InvalidDocument
from tasks.validation.load.instructions import Instructions
from tasks.validation.load.sending import generate

PROGRESS_SECONDS = 1.0


def main() -> None:
    instructions = Instructions.read(Path(sys.argv[1]).read_text())
    # each connection is an open file
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    key, last = os.environ["SLIPWAY_API_KEY"], 0.0

    def progress(sent: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= PROGRESS_SECONDS or sent == total:
            last = now
            print(json.dumps({"progress": sent, "of": total}), flush=True)

    try:
        measured = run(generate(instructions, key, progress))
    except (OSError, InvalidDocument) as error:
        sys.exit(str(error))
    # a server may repeat what it was asked with, and in the cluster this line is in the pod's log
    print(json.dumps({"measured": asdict(measured)}).replace(key, "…"), flush=True)


if __name__ == "__main__":
    main()

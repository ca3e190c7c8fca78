"""The hub and the S3 of the bench: contents with a known sha256, the compiled servers, and what they can do at most."""

from __future__ import annotations

import hashlib
import random
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
PART = 16 * MIB  # of the legs and ceilings, and the product's own for these sizes
BLOCK = 61 * MIB  # a prime, so that no two parts of a file are alike before their numbers meet
SOURCE = Path(__file__).with_name("server.cpp")
REPO, COMMIT = "bench/model", "c" * 40
SHARDS = 4
SMALL = 700  # bytes of the one file that is not in LFS
THREADS = 8


@dataclass(frozen=True)
class Content:
    """A model's files as the servers make them. `total` in bytes, without the small file."""

    block: Path
    files: Path
    total: int
    shards: tuple[str, ...]


def make_content(folder: Path, total: int) -> Content:
    """SHARDS files of `total` bytes together and a small one, with their true hashes."""
    block = folder / "block"
    if not block.exists():
        block.write_bytes(random.Random(7).randbytes(BLOCK))
    data = memoryview(block.read_bytes())
    size = total // SHARDS
    names = [f"model-{n + 1:05d}-of-{SHARDS:05d}.safetensors" for n in range(SHARDS)]
    shifts = [n * 7 * MIB + n for n in range(SHARDS)]
    with ThreadPoolExecutor(SHARDS) as pool:
        hashes = list(pool.map(lambda shift: _sha256(data, shift, size), shifts))
    # git's object id of a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    small = hashlib.sha1(f"blob {SMALL}\0".encode() + data[:SMALL], usedforsecurity=False).hexdigest()
    lines = [f"{n} {size} {s} lfs {h}" for n, s, h in zip(names, shifts, hashes, strict=True)]
    files = folder / f"files-{total}"
    files.write_text("\n".join([*lines, f"config.json {SMALL} 0 git {small}"]) + "\n")
    return Content(block, files, size * SHARDS, tuple(names))


def _sha256(block: memoryview, shift: int, size: int) -> str:
    found = hashlib.sha256()
    while size > 0:
        piece = block[shift % BLOCK :][:size]
        found.update(piece)
        shift, size = shift + len(piece), size - len(piece)
    return found.hexdigest()


@dataclass(frozen=True)
class Servers:
    """Both, running."""

    program: Path
    content: Content
    hub_port: int
    s3_port: int

    @property
    def hub(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def s3(self) -> str:
        return f"http://127.0.0.1:{self.s3_port}"

    def received(self) -> int:
        """Bytes of bodies S3 was sent so far, those of requests that broke off among them."""
        with urllib.request.urlopen(f"{self.s3}/received", timeout=30) as answer:  # noqa: S310  our own loopback
            return int(answer.read())

    def ceilings(self) -> dict[str, float]:
        """MiB/s of a compiled client that does nothing with the bytes."""
        found = {}
        for name, role, port in (("download", "get", self.hub_port), ("upload", "put", self.s3_port)):
            command = [str(self.program), role, str(self.content.block), str(self.content.files)]
            done = subprocess.run(
                [*command, str(port), str(THREADS)], check=True, capture_output=True, text=True, timeout=120
            )
            found[f"{name}_mib_s"] = round(self.content.total / MIB / float(done.stdout), 1)
        return found


@contextmanager
def serving(program: Path, content: Content, mib_a_second: int = 0) -> Iterator[Servers]:
    """Both servers; `mib_a_second` caps each of them, 0 does not."""
    running: list[subprocess.Popen[str]] = []
    try:
        ports = []
        for role in ("hub", "s3"):
            command = [str(program), role, str(content.block), str(content.files), str(mib_a_second)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            running.append(process)
            assert process.stdout is not None
            ports.append(int(process.stdout.readline()))
        yield Servers(program, content, *ports)
    finally:
        for process in running:
            process.terminate()
            process.wait(10)
            if process.stdout:
                process.stdout.close()

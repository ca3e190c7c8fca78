"""One way of moving the model as a process of its own: `python -m bench.staging.child WAY`, told by its environment.

Prints one JSON object: seconds of the work itself (without the interpreter's start), peak memory, bytes written to files.
Each way imports what it needs and no more, as its own program would.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from bench.staging.servers import COMMIT, MIB, PART, REPO, THREADS

REGION = "us-east-1"
# the sandbox's S3 says so; there is no STS beside it to ask
ACCOUNT = "123456789012"


def listed() -> list[tuple[str, int]]:
    """(path, bytes) of the model's large files."""
    lines = Path(os.environ["BENCH_FILES"]).read_text().splitlines()
    return [(path, int(size)) for path, size, _, kind, _ in map(str.split, lines) if kind == "lfs"]


Said = dict[str, Any]


def slipway(bucket: str) -> Callable[[], Said]:
    """As `stage_model` calls it."""
    from tasks.cloud.aws import Aws
    from tasks.records.model import Source
    from tasks.staging.hub import resolve
    from tasks.staging.hub_to_s3 import stage
    from tasks.staging.link import Hub
    from tasks.staging.objects import Bucket

    s3 = Aws(REGION).s3_of(ACCOUNT)

    def go() -> Said:
        model = resolve(Source(repo=REPO), Hub())
        staged = stage(model, Bucket(s3, bucket, ACCOUNT), Hub())
        return {"prefix": staged.prefix, "manifest_sha256": staged.manifest_sha256}

    return go


def naive(bucket: str) -> Callable[[], Said]:
    """One file after another: httpx's stream into boto3's upload_fileobj, the payload not signed."""
    import boto3
    import httpx
    from botocore.config import Config

    def go() -> Said:
        s3 = boto3.client("s3", region_name=REGION, config=Config(s3={"payload_signing_enabled": False}))
        files = f"{os.environ['HF_ENDPOINT']}/{REPO}/resolve/{COMMIT}"
        with httpx.Client(follow_redirects=True, timeout=60) as client:
            for path, _ in listed():
                with client.stream("GET", f"{files}/{path}") as answer:
                    s3.upload_fileobj(cast(Any, _Stream(answer.iter_raw(MIB))), bucket, f"naive/{path}")
        return {}

    return go


class _Stream:
    """What upload_fileobj reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""

    def read(self, count: int = -1) -> bytes:
        taken, size = [self._held], len(self._held)
        while count < 0 or size < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            taken.append(piece)
            size += len(piece)
        whole = b"".join(taken)
        if count < 0:
            count = len(whole)
        self._held = whole[count:]
        return whole[:count]


def _in_parallel(one: Callable[[str, int, int, int], None]) -> Said:
    """`one(path, number, offset, bytes)` for every part of every file, THREADS at a time."""
    parts = [
        (path, number, offset, min(PART, size - offset))
        for path, size in listed()
        for number, offset in enumerate(range(0, size, PART), start=1)
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(one, *part) for part in parts]:
            done.result()
    return {}


def download(bucket: str) -> Callable[[], Said]:
    """One leg alone: ranges side by side into memory, nothing looked at."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=THREADS)
    cdn = os.environ["BENCH_CDN"]

    def one(path: str, number: int, offset: int, count: int) -> None:
        span = {"Range": f"bytes={offset}-{offset + count - 1}"}
        answer = pool.request("GET", f"{cdn}/cdn/{path}", headers=span, preload_content=False)
        window = bytearray(MIB)
        while count:
            count -= answer.readinto(window)
        answer.release_conn()

    return lambda: _in_parallel(one)


def upload(bucket: str) -> Callable[[], Said]:
    """The other leg alone: parts side by side from memory, neither checksum nor payload signature."""
    from tasks.cloud.aws import Aws
    from tasks.staging.objects import PartReader

    s3 = Aws(REGION).s3_of(ACCOUNT)
    data = memoryview(bytearray(os.urandom(MIB)) * (PART // MIB))

    def go() -> Said:
        uploads = {
            path: s3.create_multipart_upload(Bucket=bucket, Key=f"leg/{path}")["UploadId"]
            for path, _ in listed()
        }

        def one(path: str, number: int, offset: int, count: int) -> None:
            s3.upload_part(
                Bucket=bucket, Key=f"leg/{path}", UploadId=uploads[path], PartNumber=number,
                Body=PartReader(data[:count]), ContentLength=count,
            )  # fmt: skip

        return _in_parallel(one)

    return go


WAYS = {way.__name__: way for way in (slipway, naive, download, upload)}


def _field(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def main() -> None:
    go = WAYS[sys.argv[1]](os.environ["BENCH_BUCKET"])
    began = time.monotonic()
    told = go()
    seconds = time.monotonic() - began
    # `wchar`: what write() took, to files of whatever file system. `write_bytes` would count access times, too
    written = _field("/proc/self/io", "wchar")
    peak = _field("/proc/self/status", "VmHWM") / 1024
    print(json.dumps({"seconds": seconds, "peak_rss_mib": peak, "disk_bytes": written, **told}))


if __name__ == "__main__":
    main()

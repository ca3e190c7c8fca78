"""What is on a volume: one folder an EC2 volume or snapshot, copied whole as EBS copies blocks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

COPY_SECONDS = 900.0  # a folder of models at the speed of a slow disk
_ATTEMPTS = 3  # files of a volume in use come and go while it is read
PARTIAL = ".partial"


async def copy_contents(source: Path, target: Path) -> None:
    """`target` becomes what `source` is, whole or not at all; nothing is done where it exists. Raises OSError, TimeoutError.

    Blocks are shared where the file system can (reflinks), never by hard links: what is written to one copy later must not
    be seen in the other.
    """
    if await asyncio.to_thread(target.exists):
        return
    partial = target.with_name(target.name + PARTIAL)
    words = ""
    for _ in range(_ATTEMPTS):
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        partial.mkdir(parents=True)
        code, words = await _copy(source, partial)
        if code == 0:
            partial.rename(target)
            return
    await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
    raise OSError(f"{source} could not be copied: {words[-500:]}")


async def _copy(source: Path, target: Path) -> tuple[int, str]:
    if not await asyncio.to_thread(source.is_dir):
        return 0, ""  # made in EC2 by other hands: an empty disk
    process = await asyncio.create_subprocess_exec(
        "cp", "-a", "--reflink=auto", "--", f"{source}/.", str(target),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(COPY_SECONDS):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, errors.decode(errors="replace")

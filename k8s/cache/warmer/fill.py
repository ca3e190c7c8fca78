"""Makes one commit's folder on the volume hold the staged model, whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from copying import Copying
from disk import read_json, sync_folder, write_durably
from evict import check_space, held, make_room, missing_bytes
from exits import Exit, Failure, TornFile
from journal import MARKER, PROGRESS, Journal
from manifest import Wanted
from options import Options
from report import tell
from source import Source


def fill(options: Options, s3: Any) -> dict[str, Any]:
    """Fill the folder of one commit; the fields of the `done` line. Raises Failure."""
    options.folder.mkdir(parents=True, exist_ok=True)
    make_room(options, 0)
    marker = read_json(options.folder / MARKER)
    if marker.get("manifest_sha256") == options.manifest_sha256 and _intact(options.folder, marker):
        os.utime(options.folder / MARKER)  # last used now
        return _done(options, marker["total_bytes"], 0, reused=True)
    source = Source(s3, options)
    files = source.manifest()
    _withdraw_marker(options, files)
    journal, copied = _copy_missing(options, source, files)
    for folder in sorted({(options.folder / file.path).parent for file in files}):
        sync_folder(folder)
    total, sizes = sum(file.size for file in files), {file.path: file.size for file in files}
    write_durably(
        options.folder / MARKER,
        journal.document() | {"format": 1, "commit": options.commit, "total_bytes": total, "sizes": sizes},
    )
    (options.folder / PROGRESS).unlink(missing_ok=True)
    return _done(options, total, copied, reused=False)


def _copy_missing(options: Options, source: Source, files: list[Wanted]) -> tuple[Journal, int]:
    """Copy until the journal has every file, a torn one once more; that journal, and the bytes copied. Raises Failure."""
    copied, torn = 0, set[str]()
    while True:
        journal = Journal.load(options.folder, options.manifest_sha256)
        missing = [file for file in files if not journal.has(file, options.folder)]
        if not missing:
            return journal, copied
        make_room(options, missing_bytes(options, missing))
        check_space(options, missing)
        tell("start", total=sum(file.size for file in missing), files=len(missing))
        copying = Copying(options, source, journal, missing)
        try:
            copying.run()
        except TornFile as error:
            if error.path in torn:
                raise Failure(Exit.BAD_DATA, f"a second time {error.cause}") from error
            torn.add(error.path)
            tell("note", text=f"{error.path} is torn or was misread: it is fetched whole")
        finally:
            copied += copying.copied


def _done(options: Options, total: int, copied: int, *, reused: bool) -> dict[str, Any]:
    return {
        "commit": options.commit,
        "path": str(options.folder.relative_to(options.root)),
        "total_bytes": total,
        "bytes_copied": copied,
        "reused": reused,
        "held": {each.commit: each.size for each in held(options)},
    }


def _intact(folder: Path, marker: dict[str, Any]) -> bool:
    """Whether every file is there with its size; its bytes were verified before the marker was written."""
    return all(
        (folder / path).is_file() and (folder / path).stat().st_size == size
        for path, size in marker["sizes"].items()
    )


def _withdraw_marker(options: Options, files: list[Wanted]) -> None:
    """Move what the marker proved into the journal, then remove the marker and files the manifest does not list."""
    Journal.load(options.folder, options.manifest_sha256).save()
    (options.folder / MARKER).unlink(missing_ok=True)
    wanted = {options.folder / file.path for file in files} | {options.folder / PROGRESS}
    for path in options.folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()

"""Verify a bundle from files: `slipway verify`. Needs no account, no network and no Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tasks.evidence.envelope import read_public_key
from tasks.evidence.page import page
from tasks.evidence.verify import check_chain, verify
from tasks.records.errors import EvidenceRefused, InputError


def verify_files(bundle: Path, key: Path, previous: Path | None = None, now: datetime | None = None) -> str:
    """The page about a bundle signed by `key`, and that it replaces `previous` where that is given.

    Raises EvidenceRefused, InputError.
    """
    trusted = read_public_key(_read(key))
    at = now or datetime.now(UTC)
    try:
        found = verify(_read(bundle), trusted, now=at)
        if previous:
            check_chain(found, verify(_read(previous), trusted, now=at))
    except EvidenceRefused as error:
        release = "slipway evidence MODEL -e ENVIRONMENT --out FOLDER"
        raise EvidenceRefused(error.cause, evidence=error.evidence, next_command=release) from error
    note = "" if previous or not found.evidence.replaces else "\n\nThe chain was not followed: no --previous."
    return page(found, trusted.keyid) + note


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", next_command=f"ls -l {path.parent}"
        ) from error

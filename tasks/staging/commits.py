"""Look at a commit of the hub without staging it: its files, its licence, whether it may be read."""

from __future__ import annotations

import yaml
from huggingface_hub import ModelCard

from tasks.records.errors import LicenceNotAccepted, RevisionNotFound, TokenMissing, TokenRejected
from tasks.records.model import Source
from tasks.records.results import HubModel
from tasks.records.watching import HubCommit
from tasks.staging.hub import file_of, model_info, read_head
from tasks.staging.link import Hub
from tasks.staging.selection import select

CARD = "README.md"
CARD_BYTES = 1 << 18  # its metadata stand at its beginning


def look(source: Source, hub: Hub) -> HubCommit:
    """Read what the hub lists of `source.revision`. Raises HubError, but not for files that may not be read.

    The licence is read from the commit's own model card: what the hub says of a repo is of its newest one.
    """
    info = model_info(source, hub)
    files = tuple(file_of(sibling) for sibling in info.siblings or ())
    if not info.sha:
        raise RevisionNotFound(
            f"the hub names no commit for {source.revision} of {source.repo}",
            next_command="look at source.revision of the model's file",
        )
    listed = HubModel(repo=source.repo, commit=info.sha, gated=bool(info.gated), files=files)
    unreadable, card = "", b""
    if any(file.path == CARD for file in files):
        try:
            card = read_head(listed, CARD, CARD_BYTES, hub)
        except (LicenceNotAccepted, TokenMissing, TokenRejected) as refused:
            unreadable = refused.cause
    return HubCommit(
        repo=info.id,
        commit=info.sha,
        committed_at=info.last_modified,
        gated=bool(info.gated),
        disabled=bool(info.disabled),
        licence=licence_of(card.decode(errors="replace")),
        files=files,
        staged=tuple(file.path for file in select(files, source)[0]),
        unreadable=unreadable,
    )


def licence_of(card: str) -> str:
    """What a model card's metadata name as its licence; empty where they name none or cannot be read."""
    try:
        found = ModelCard(card, ignore_metadata_errors=True).data.get("license")
    except (ValueError, TypeError, yaml.YAMLError):
        return ""
    return found if isinstance(found, str) else ""

"""Decide which followed models a webhook of the hub is about. Pure.

Payload, version 3: huggingface/hub-docs at 00295c29, docs/hub/webhooks.md. Its shas are not used: a run asks the hub itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

from tasks.records.model import Model

CONTENT = "repo.content"  # "new commits or tags"; a narrower scope may come, as repo.content.x


class Malformed(ValueError):
    """Not a payload of the hub. The text says what is wrong."""


class _Event(BaseModel):
    scope: str


class _Repo(BaseModel):
    type: str
    name: str


class _Ref(BaseModel):
    ref: str
    sha: str | None = Field(None, alias="newSha")


class Payload(BaseModel):
    """What is read of a payload; it has more."""

    event: _Event
    repo: _Repo
    updated: tuple[_Ref, ...] = Field((), alias="updatedRefs")


@dataclass(frozen=True)
class Followed:
    """A model of the catalogue that follows a branch or a tag of a repo."""

    name: str
    repo: str
    revision: str


@dataclass(frozen=True)
class Concerned:
    """The models to look at, or why there is none."""

    models: tuple[str, ...]
    why: str = ""


def followed(models: Iterable[Model]) -> tuple[Followed, ...]:
    """The followed ones."""
    return tuple(
        Followed(one.name, one.source.repo, one.source.revision) for one in models if one.source.follow
    )


def decide(body: bytes, known: Sequence[Followed]) -> Concerned:
    """Whom it concerns. Raises Malformed."""
    try:
        payload = Payload.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Malformed(f"{where}: {first['msg']}") from None
    scope, repo = payload.event.scope, payload.repo
    if scope != CONTENT and not scope.startswith(f"{CONTENT}."):
        return Concerned((), f"{scope} changes no files")
    here = [one for one in known if repo.type == "model" and one.repo == repo.name]
    if not here:
        return Concerned((), f"no model follows the {repo.type} {repo.name}")
    moved = {one.ref for one in payload.updated if one.sha}
    found = tuple(
        one.name for one in here if moved & {f"refs/heads/{one.revision}", f"refs/tags/{one.revision}"}
    )
    revisions = ", ".join(sorted({one.revision for one in here}))
    return Concerned(found, "" if found else f"none of its updated references is {revisions}")

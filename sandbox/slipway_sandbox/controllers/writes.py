"""What a decision asks for: a list of intended writes, and the one place that carries them out."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.apiclient import MERGE, ApiClient, ApiError
from slipway_sandbox.controllers.objects import Object, Resource, key_of


@dataclass(frozen=True)
class Create:
    """`made` is said when it is done; `refused`, with the server's words after its own, when it is not."""

    resource: Resource
    body: Object
    made: Note | None = None
    refused: Note | None = None


@dataclass(frozen=True)
class Update:
    """A PUT under the body's resourceVersion: 409 when someone else wrote first. `sub` is "status" or ""."""

    resource: Resource
    body: Object
    sub: str = ""


@dataclass(frozen=True)
class Patch:
    """A JSON merge patch, without a lock."""

    resource: Resource
    target: Object
    body: Object
    sub: str = ""


@dataclass(frozen=True)
class Delete:
    """Deletes this very object (by uid), never a namesake that came after it."""

    resource: Resource
    target: Object
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """An Event about `about`.

    One with an `action` is written as the scheduler writes its events: in series, with the moment to the microsecond.
    """

    about: Object
    kind: str
    reason: str
    message: str
    warning: bool = False
    action: str = ""


Write = Create | Update | Patch | Delete | Note


@dataclass
class Decision:
    """Writes in the order they are to be made, and the seconds after which time alone changes the answer."""

    writes: list[Write] = field(default_factory=list)
    again_in: float | None = None

    def again(self, seconds: float | None) -> None:
        """Look again after `seconds`, or sooner if that was asked already."""
        if seconds is not None:
            self.again_in = seconds if self.again_in is None else min(self.again_in, seconds)


def update_status(resource: Resource, item: Object, status: Object) -> list[Write]:
    """The write that makes the status so; none where it is so already."""
    status = {name: value for name, value in status.items() if value is not None}
    if status == (item.get("status") or {}):
        return []
    return [Update(resource, {**item, "status": status}, sub="status")]


def edited(item: Object) -> Object:
    """A copy to change: what the stores hold is shared and never written to."""
    return copy.deepcopy(item)


async def send(client: ApiClient, write: Create | Update | Patch | Delete) -> Object | None:
    """Carry one write out. Raises ApiError.

    Returns the object as the server answered; for a deletion the object that still lingers (a grace period, a
    finalizer), None where it is gone.
    """
    resource = write.resource
    if isinstance(write, Create):
        path = client.path(resource.api, resource.plural, write.body["metadata"].get("namespace"))
        return await client.create(path, {"apiVersion": resource.api, "kind": resource.kind, **write.body})
    target = write.body if isinstance(write, Update) else write.target
    namespace, name = key_of(target)
    sub = None if isinstance(write, Delete) else write.sub or None
    path = client.path(resource.api, resource.plural, namespace or None, name, sub)
    if isinstance(write, Update):
        return await client.replace(path, {"apiVersion": resource.api, "kind": resource.kind, **write.body})
    if isinstance(write, Patch):
        return await client.patch(path, write.body, MERGE)
    return await _delete(client, path, write)


async def _delete(client: ApiClient, path: str, write: Delete) -> Object | None:
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": write.target["metadata"]["uid"]},
        **write.options,
    }
    try:
        answer: Object = await client.request("DELETE", path, options)
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    lingers = answer.get("kind") == write.resource.kind and answer["metadata"].get("deletionTimestamp")
    return answer if lingers else None

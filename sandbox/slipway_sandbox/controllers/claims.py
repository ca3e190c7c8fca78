"""Adoption and release: which children a controller owns (controller_ref_manager.go)."""

from __future__ import annotations

from collections.abc import Iterable

from slipway_sandbox.controllers.objects import (
    Object,
    Resource,
    controller_of,
    controller_reference,
    is_deleting,
    labels_of,
    matches_selector,
    owners_of,
    uid_of,
)
from slipway_sandbox.controllers.writes import Patch, Write


def decide_claims(
    owner: Object, resource: Resource, children: Iterable[Object], child_resource: Resource
) -> tuple[list[Object], list[Write]]:
    """(children that are the owner's, writes that adopt matching orphans and release what no longer matches)."""
    selector = owner["spec"].get("selector")
    mine: list[Object] = []
    writes: list[Write] = []
    for child in children:
        matches = matches_selector(selector, labels_of(child))
        reference = controller_of(child)
        if reference is not None:
            if reference["uid"] != uid_of(owner):
                continue
            if matches:
                mine.append(child)
            elif not is_deleting(owner):
                writes.append(_owners(child, child_resource, _without(child, uid_of(owner))))
        elif matches and not is_deleting(owner) and not is_deleting(child):
            references = [*owners_of(child), controller_reference(owner, resource)]
            writes.append(_owners(child, child_resource, references))
    return mine, writes


def _without(child: Object, uid: str) -> list[Object]:
    return [reference for reference in owners_of(child) if reference["uid"] != uid]


def _owners(child: Object, resource: Resource, references: list[Object]) -> Patch:
    # The uid in the patch makes it a 409 where a namesake has taken the child's place.
    return Patch(resource, child, {"metadata": {"uid": uid_of(child), "ownerReferences": references}})

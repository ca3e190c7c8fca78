"""ControllerRevisions: the templates a StatefulSet or DaemonSet has had (pkg/controller/history)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slipway_sandbox.controllers.objects import (
    REVISIONS,
    STATEFUL_SETS,
    Object,
    Resource,
    annotations_of,
    controller_reference,
    labels_of,
    name_of,
    short_hash,
)
from slipway_sandbox.controllers.writes import Create, Delete, Update, Write, edited

HASH_LABEL = "controller-revision-hash"
_OF_STATEFUL_SETS = (
    "controller.kubernetes.io/hash"  # their revisions are labelled so; pods and DaemonSets' as above
)


def hash_of(revision: Object) -> str:
    labels = labels_of(revision)
    return labels.get(_OF_STATEFUL_SETS) or labels.get(HASH_LABEL, "")


def sync_revisions(
    owner: Object, resource: Resource, known: Sequence[Object], in_use: Collection[str]
) -> tuple[str, list[Write]]:
    """(hash of the present template, writes: the revision it needs and old ones beyond revisionHistoryLimit).

    `in_use` are hashes that pods still have; their revisions stay.
    """
    template = owner["spec"]["template"]
    suffix = short_hash(template)
    newest = max((int(item.get("revision", 0)) for item in known), default=0)
    present = next((item for item in known if hash_of(item) == suffix), None)
    writes: list[Write] = []
    if present is None:
        writes.append(Create(REVISIONS, _revision(owner, resource, suffix, newest + 1)))
    elif int(present.get("revision", 0)) < newest:
        again = edited(present)
        again["revision"] = newest + 1
        writes.append(Update(REVISIONS, again))
    limit = owner["spec"].get("revisionHistoryLimit")
    idle = [item for item in known if hash_of(item) != suffix and hash_of(item) not in in_use]
    idle.sort(key=lambda item: int(item.get("revision", 0)))
    writes += [
        Delete(REVISIONS, item) for item in idle[: max(len(idle) - (10 if limit is None else limit), 0)]
    ]
    return suffix, writes


def template_of(known: Sequence[Object], suffix: str) -> Object | None:
    """The template a hash stands for, where its revision is still kept."""
    for item in known:
        if hash_of(item) == suffix:
            template: Object = item["data"]["spec"]["template"]
            return template
    return None


def _revision(owner: Object, resource: Resource, suffix: str, number: int) -> Object:
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    metadata: Object = {
        "name": f"{name_of(owner)}-{suffix}",
        "namespace": owner["metadata"]["namespace"],
        "labels": {**labels, (_OF_STATEFUL_SETS if resource is STATEFUL_SETS else HASH_LABEL): suffix},
        "ownerReferences": [controller_reference(owner, resource)],
    }
    if annotations_of(owner):
        metadata["annotations"] = annotations_of(owner)
    return {
        "metadata": metadata,
        "revision": number,
        "data": {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}},
    }

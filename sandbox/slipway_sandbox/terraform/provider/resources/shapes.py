"""Small conversions between AWS's shapes and Terraform's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slipway_sandbox.terraform.provider.schema import State
from slipway_sandbox.terraform.provider.session import Session, unless_gone


def compact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something: botocore refuses None, and AWS takes empty lists for wishes."""
    return {key: value for key, value in fields.items() if value is not None and value != [] and value != {}}


def first(items: list[State] | None) -> State | None:
    """The block that may stand once, or None."""
    return items[0] if items else None


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: list[dict[str, str]] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags or []}


def tag_changes(prior: State, planned: State) -> tuple[list[str], dict[str, str]]:
    """(keys to remove, tags to set)"""
    before, after = prior.get("tags_all") or {}, planned.get("tags_all") or {}
    return (
        [key for key in before if key not in after],
        {key: value for key, value in after.items() if before.get(key) != value},
    )


def specification(kind: str, planned: State) -> list[dict[str, Any]]:
    """EC2's TagSpecifications, so that a resource never exists without its tags."""
    tags = tag_list(planned.get("tags_all"))
    return [{"ResourceType": kind, "Tags": tags}] if tags else []


def retag_ec2(session: Session, prior: State, planned: State) -> None:
    removed, added = tag_changes(prior, planned)
    ec2 = session.client("ec2")
    if removed:
        ec2.delete_tags(Resources=[planned["id"]], Tags=[{"Key": key} for key in removed])
    if added:
        ec2.create_tags(Resources=[planned["id"]], Tags=tag_list(added))


def split_id(identity: str, separator: str, *names: str) -> State:
    """An import id such as `cluster:group` as attributes, with `id`. Raises ValueError."""
    parts = identity.split(separator, len(names) - 1)
    if len(parts) != len(names) or not all(parts):
        raise ValueError(
            f"unexpected id {identity!r}: expected {separator.join(name.upper() for name in names)}"
        )
    return {"id": identity} | dict(zip(names, parts, strict=True))


def one(call: Callable[[], list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The only item a describe call by id answers, or None when EC2 does not know the id (any more)."""
    found = unless_gone(call)
    return found[0] if found else None

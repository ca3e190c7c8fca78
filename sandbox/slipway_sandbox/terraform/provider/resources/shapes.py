"""Small conversions between AWS's shapes and Terraform's, and what many resources do alike."""

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


def specification(kind: str, planned: State) -> list[dict[str, Any]]:
    """EC2's TagSpecifications, so that a resource never exists without its tags."""
    tags = tag_list(planned.get("tags_all"))
    return [{"ResourceType": kind, "Tags": tags}] if tags else []


def retag_ec2(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    ec2 = session.client("ec2")
    if removed:
        ec2.delete_tags(Resources=[state["id"]], Tags=[{"Key": key} for key in removed])
    if added:
        ec2.create_tags(Resources=[state["id"]], Tags=tag_list(added))


def retag_arn(service: str, arn: str) -> Callable[[Session, State, list[str], dict[str, str]], None]:
    """Tags by ARN, as EKS and CloudWatch Logs take them; `arn` is the attribute that holds it."""

    def retag(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
        client = session.client(service)
        if removed:
            client.untag_resource(resourceArn=state[arn], tagKeys=removed)
        if added:
            client.tag_resource(resourceArn=state[arn], tags=added)

    return retag


def ec2_deletion(operation: str, parameter: str) -> Callable[[Session, State], None]:
    """Delete by id, again and again while something depends on it; what is gone already is no error."""

    def delete(session: Session, state: State) -> None:
        call = getattr(session.client("ec2"), operation)
        session.delete(lambda: call(**{parameter: state["id"]}))

    return delete


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


def wait_for_state(
    session: Session,
    what: str,
    describe: Callable[[], dict[str, Any] | None],
    wanted: str | None,
    within: float,
) -> None:
    """Wait until EC2 shows this state of it; None stands for gone."""

    def state() -> str | None:
        shown = describe()
        return None if shown is None else str(shown["State"]).lower()

    session.wait(f"EC2 {what}", state, [wanted], within)

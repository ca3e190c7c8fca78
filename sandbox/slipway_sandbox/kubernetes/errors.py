"""The refusals of a Kubernetes API server: one exception, carrying the `Status` object a client receives.

Reasons and wordings follow k8s.io/apimachinery/pkg/api/errors, since clients match on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway_sandbox.kubernetes.resources import Resource


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong: `reason` is a StatusCause reason such as FieldValueInvalid."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def as_dict(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiStatus(Exception):
    """A request was refused; `body()` is the `Status` object sent back with HTTP status `code`."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.headers = details, headers or {}

    def body(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status | {"code": self.code}


class Unauthorized(ApiStatus):
    """The bearer token names nobody."""

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(401, "Unauthorized", message)


class NoSuchPath(ApiStatus):
    """Nothing is served there."""


class Undecodable(ApiStatus):
    """A body that cannot be read as its kind, or not strictly: 400. `why` is what the decoder says."""

    def __init__(self, resource: Resource, why: str) -> None:
        self.why = why
        what = f'{resource.kind} in version "{resource.version}"'
        super().__init__(400, "BadRequest", f"{what} cannot be handled as a {resource.kind}: {why}")


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural} | more


def not_found(resource: Resource, name: str) -> ApiStatus:
    message = f'{resource.qualified} "{name}" not found'
    return ApiStatus(404, "NotFound", message, details=_details(resource, name))


def no_such_path() -> ApiStatus:
    """The path names no version, resource or subresource that its group serves."""
    return ApiStatus(404, "NotFound", "the server could not find the requested resource", details={})


def no_such_group() -> ApiStatus:
    """Nothing at all is served below the path: `server.py` answers in plain text."""
    return NoSuchPath(404, "NotFound", "404 page not found")


def already_exists(resource: Resource, name: str) -> ApiStatus:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiStatus(409, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiStatus:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiStatus(409, "Conflict", message, details=_details(resource, name))


def modified(resource: Resource, name: str) -> ApiStatus:
    """The caller's resourceVersion is not the stored one."""
    return conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiStatus:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = _details(resource, name) | {"kind": resource.kind}
    return _invalid(f'{kind} "{name}"', details, causes)


def invalid_options(kind: str, *causes: Cause) -> ApiStatus:
    """Options of a request that do not go together: `kind` is ListOptions, DeleteOptions, …"""
    return _invalid(f'{kind}.meta.k8s.io ""', {"group": "meta.k8s.io", "kind": kind}, causes)


def _invalid(named: str, details: dict[str, Any], causes: Sequence[Cause]) -> ApiStatus:
    lines = [f"{cause.field}: {cause.message}" for cause in causes]
    what = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    details["causes"] = [cause.as_dict() for cause in causes]
    return ApiStatus(422, "Invalid", f"{named} is invalid: {what}", details=details)


def too_new(version: int, current: int) -> ApiStatus:
    """A resourceVersion that has not been given out yet."""
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiStatus(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})


def forbidden(resource: Resource, name: str, why: str, *causes: Cause) -> ApiStatus:
    details = _details(resource, name)
    if causes:
        details["causes"] = [cause.as_dict() for cause in causes]
    return ApiStatus(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', details=details)


def bad_request(message: str) -> ApiStatus:
    return ApiStatus(400, "BadRequest", message)


def method_not_allowed() -> ApiStatus:
    return ApiStatus(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unsupported_media_type(accepted: Sequence[str]) -> ApiStatus:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(
        accepted
    )
    return ApiStatus(415, "UnsupportedMediaType", message)


def expired(message: str) -> ApiStatus:
    """A resourceVersion or continue token is older than the journal."""
    return ApiStatus(410, "Expired", message)


def internal(message: str) -> ApiStatus:
    return ApiStatus(500, "InternalError", f"Internal error occurred: {message}")


def unavailable(message: str) -> ApiStatus:
    return ApiStatus(503, "ServiceUnavailable", message)

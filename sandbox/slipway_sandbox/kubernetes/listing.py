"""Lists: selection, pages that stay consistent, and the exact revision asked for."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slipway_sandbox.kubernetes import errors, names, selectors
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Name, Store, Stored


@dataclass(frozen=True)
class Selection:
    """Which objects of a collection a request means."""

    namespace: str | None
    labels: selectors.Predicate
    fields: selectors.ObjectPredicate
    name: str | None = None  # the only one that can match, where the request says so

    @classmethod
    def parse(
        cls, resource: Resource, namespace: str | None, name: str | None, query: Mapping[str, str]
    ) -> Selection:
        """Raises ApiStatus 400 for a selector that cannot be read."""
        extra = resource.custom.selectable if resource.custom else None
        text = query.get("fieldSelector", "")
        if name is not None:
            text = f"{text},metadata.name={name}" if text else f"metadata.name={name}"
        return cls(
            namespace,
            selectors.parse_labels(query.get("labelSelector", "")),
            selectors.parse_fields(resource.key, text, extra),
            _only_name(text),
        )

    def has(self, stored: Stored | None) -> bool:
        if stored is None:
            return False
        metadata = stored.metadata
        if self.namespace is not None and metadata.get("namespace") != self.namespace:
            return False
        return self.labels(metadata.get("labels") or {}) and self.fields(stored.object)


def check_options(query: Mapping[str, str], current: int) -> None:
    """Which options of a list or watch go together. `current` is the newest revision there is.

    Raises ApiStatus 400, 422 or 504 (a version from the future). Source:
    k8s.io/apimachinery/pkg/apis/meta/internalversion/validation.
    """
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    watching = query.get("watch", "").lower() in ("true", "1")
    causes = [*_check_match(version, match, query), *_check_initial(watching, match, query)]
    if causes:
        raise errors.invalid_options("ListOptions", *causes)
    if query.get("continue") and version not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    check_version(version, current)


def check_version(version: str, current: int) -> None:
    """Raises ApiStatus 400 for what is no resourceVersion, 504 for one that is not given out yet."""
    if version and not version.isdigit():
        raise errors.bad_request(_not_a_version(version))
    if version and int(version) > current:
        raise errors.too_new(int(version), current)


def _not_a_version(version: str) -> str:
    why = (
        f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
    )
    return f"invalid resource version: {why}"


def not_a_number(text: str | None) -> errors.ApiStatus:
    """An option that Go could not read."""
    return errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')


def _check_match(version: str, match: str, query: Mapping[str, str]) -> Iterator[Cause]:
    if not match or query.get("watch", "").lower() in ("true", "1"):
        return
    path = "resourceVersionMatch"
    if query.get("continue"):
        yield names.forbidden(path, "resourceVersionMatch is forbidden when continue is provided")
    if not version:
        yield names.forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("Exact", "NotOlderThan"):
        yield names.unsupported(path, match, ("Exact", "NotOlderThan"))
    if match == "Exact" and version == "0":
        yield names.forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _check_initial(watching: bool, match: str, query: Mapping[str, str]) -> Iterator[Cause]:
    if not watching:
        if "sendInitialEvents" in query:
            yield names.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    elif "sendInitialEvents" in query:
        if match != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            yield names.forbidden("resourceVersionMatch", why)
    elif match:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield names.forbidden("resourceVersionMatch", why)


def _only_name(fields: str) -> str | None:
    """Of a field selector that was found good."""
    found = re.search(r"(?:^|,)\s*metadata\.name==?([^,]*)", fields)
    return found[1].strip() if found else None


@dataclass(frozen=True)
class Page:
    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


def list_page(store: Store, resource: Resource, selection: Selection, query: Mapping[str, str]) -> Page:
    """One page by the query's limit and continue. Raises ApiStatus 400, 410, 422 or 504."""
    check_options(query, store.revision)
    try:
        limit = max(int(query.get("limit") or 0), 0)
    except ValueError:
        raise not_a_number(query.get("limit")) from None
    after: Name | None = None
    revision: int | None = None
    if token := query.get("continue"):
        revision, after = _read_token(token)
    elif query.get("resourceVersionMatch") == "Exact":
        revision = int(query.get("resourceVersion") or 0)
    state = store.snapshot(resource.key, revision)
    names = sorted(name for name in state if after is None or name > after)
    chosen = [state[name] for name in names if selection.has(state[name])]
    at = revision if revision is not None else store.revision
    if not limit or len(chosen) <= limit:
        return Page(chosen, at)
    page = chosen[:limit]
    selective = query.get("labelSelector") or query.get("fieldSelector")
    remaining = None if selective else len(chosen) - limit
    return Page(page, at, _token(at, page[-1].name), remaining)


def _token(revision: int, last: Name) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *last]).encode()).decode()


def _read_token(token: str) -> tuple[int, Name]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error):
        raise errors.bad_request("continue key is not valid") from None
    return int(revision), (str(namespace), str(name))

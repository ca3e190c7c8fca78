"""Lists and what they select. A limit is not held: a server may answer with everything, and this one does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway_sandbox.kubernetes import errors, selectors
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Store, Stored


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
        text = query.get("fieldSelector", "")
        if name is not None:
            text = f"{text},metadata.name={name}" if text else f"metadata.name={name}"
        return cls(
            namespace,
            selectors.parse_labels(query.get("labelSelector", "")),
            selectors.parse_fields(resource.key, text),
            _only_name(text),
        )

    def has(self, stored: Stored | None) -> bool:
        if stored is None:
            return False
        metadata = stored.metadata
        if self.namespace is not None and metadata.get("namespace") != self.namespace:
            return False
        return self.labels(metadata.get("labels") or {}) and self.fields(stored.object)


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


def _only_name(fields: str) -> str | None:
    """Of a field selector that was found good."""
    found = re.search(r"(?:^|,)\s*metadata\.name==?([^,]*)", fields)
    return found[1].strip() if found else None


@dataclass(frozen=True)
class Page:
    items: list[Stored]
    revision: int


def list_page(store: Store, resource: Resource, selection: Selection, query: Mapping[str, str]) -> Page:
    """The collection as it is now. Raises ApiStatus 400 or 504 for a resourceVersion that cannot be."""
    check_version(query.get("resourceVersion", ""), store.revision)
    state = store.snapshot(resource.key)
    return Page([stored for _, stored in sorted(state.items()) if selection.has(stored)], store.revision)

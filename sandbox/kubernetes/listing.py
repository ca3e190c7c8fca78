"""Lists: selection, pages that stay consistent, and the exact revision asked for."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.kubernetes import errors, selectors
from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Name, Store, Stored


@dataclass(frozen=True)
class Selection:
    """Which objects of a collection a request means."""

    namespace: str | None
    labels: selectors.Predicate
    fields: selectors.ObjectPredicate

    @classmethod
    def parse(
        cls, resource: Resource, namespace: str | None, name: str | None, query: Mapping[str, str]
    ) -> Selection:
        """Raises ApiStatus 400 for a selector that cannot be read."""
        extra = resource.custom.selectable if resource.custom else frozenset()
        text = query.get("fieldSelector", "")
        if name is not None:
            text = f"{text},metadata.name={name}" if text else f"metadata.name={name}"
        return cls(
            namespace,
            selectors.parse_labels(query.get("labelSelector", "")),
            selectors.parse_fields(resource.key, text, extra),
        )

    def has(self, stored: Stored | None) -> bool:
        if stored is None:
            return False
        metadata = stored.metadata
        if self.namespace is not None and metadata.get("namespace") != self.namespace:
            return False
        return self.labels(metadata.get("labels") or {}) and self.fields(stored.object)


@dataclass(frozen=True)
class Page:
    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


def list_page(store: Store, resource: Resource, selection: Selection, query: Mapping[str, str]) -> Page:
    """One page by the query's limit and continue. Raises ApiStatus 400 or 410."""
    try:
        limit = int(query.get("limit") or 0)
    except ValueError:
        raise errors.bad_request(f"limit: {query.get('limit')!r} is no number") from None
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

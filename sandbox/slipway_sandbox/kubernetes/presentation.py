"""The form a stored object is answered in: the object, a row of a Table, or its metadata alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slipway_sandbox.kubernetes import tables
from slipway_sandbox.kubernetes.listing import Page
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, Stored, encode


@dataclass(frozen=True)
class Presenter:
    """`form` is "", `Table` or `PartialObjectMetadata(List)`; `include` is a Table's includeObject."""

    resource: Resource
    form: str
    include: str
    age_of: Callable[[str], str]

    def one(self, stored: Stored) -> bytes:
        if self.form == "Table":
            return encode(self._table([stored], stored.metadata.get("resourceVersion", "")))
        if self.form:
            return encode(partial(stored.object))
        return stored.encoded

    def list(self, page: Page) -> bytes:
        metadata: Object = {"resourceVersion": str(page.revision)}
        if self.resource.custom and not self.form:
            metadata["continue"] = ""
        if self.form == "Table":
            table = self._table(page.items, str(page.revision))
            table["metadata"] = metadata
            return encode(table)
        if self.form:
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            return encode(head | {"items": [partial(stored.object) for stored in page.items]})
        head = {
            "kind": self.resource.list_kind,
            "apiVersion": self.resource.api_version,
            "metadata": metadata,
        }
        return encode(head)[:-1] + b',"items":[' + b",".join(self._items(page.items)) + b"]}"

    def _items(self, items: Iterable[Stored]) -> Iterable[bytes]:
        if self.resource.custom:  # untyped: every item says what it is
            return (self.one(stored) for stored in items)
        return (stored.encoded_item for stored in items)

    def _table(self, items: Iterable[Stored], revision: str) -> Object:
        columns, cells = tables.layout(self.resource, self.age_of)
        rows = []
        for stored in items:
            row: Object = {"cells": cells(stored.object)}
            if self.include == "Object":
                row["object"] = stored.object
            elif self.include != "None":
                row["object"] = partial(stored.object)
            rows.append(row)
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": revision},
            "columnDefinitions": columns,
            "rows": rows,
        }


def partial(object_: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object_["metadata"]}

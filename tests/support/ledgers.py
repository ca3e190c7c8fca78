"""A ledger of releases over an S3 that is a dictionary."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tasks.releases.ledger import Ledger


@dataclass
class MemoryS3:
    """The calls that a ledger makes; `objects` by key."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}


def a_ledger(environment: str = "staging", model: str = "llama") -> Ledger:
    return Ledger(MemoryS3(), "models", environment, model)

"""What is told of an object beside its bytes: tags, attributes, ACL."""

from __future__ import annotations

from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import (
    OWNER_ID,
    Answer,
    S3Request,
    http_date,
    tag_set,
    tags_of,
    xml,
    xml_answer,
)
from slipway_sandbox.aws.s3.objects import Objects, id_header
from slipway_sandbox.aws.s3.store import Part, Store


class Metadata:
    """Get/Put/DeleteObjectTagging, GetObjectAttributes, GetObjectAcl; object lock is not there."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store, self._objects = store, objects

    def get_object_tagging(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket, version = self._objects.find(request)
            answer = xml_answer("Tagging", tag_set(version.tags))
        answer.headers |= id_header(bucket, version)
        return answer

    def put_object_tagging(self, request: S3Request) -> Answer:
        tags = tags_of(request.document())
        if len(tags) > 10:
            raise S3Error("BadRequest", "Object tags cannot be greater than 10")
        with self._store.lock:
            bucket, version = self._objects.find(request)
            version.tags = tags
        return Answer(200, headers=id_header(bucket, version))

    def delete_object_tagging(self, request: S3Request) -> Answer:
        with self._store.lock:
            bucket, version = self._objects.find(request)
            version.tags = {}
        return Answer(204, headers=id_header(bucket, version))

    def get_object_attributes(self, request: S3Request) -> Answer:
        wanted = {name.strip() for name in request.headers.get("x-amz-object-attributes", "").split(",")}
        with self._store.lock:
            bucket, version = self._objects.find(request)
        checksum = version.checksum
        assert checksum
        rows = {
            "ETag": version.etag,
            "Checksum": [(checksum.member, checksum.value), ("ChecksumType", checksum.kind)],
            "ObjectParts": _parts_page(request, version.parts) if version.parts else None,
            "StorageClass": version.headers.get("x-amz-storage-class", "STANDARD"),
            "ObjectSize": version.size,
        }
        answer = xml_answer("GetObjectAttributesResponse", *((k, v) for k, v in rows.items() if k in wanted))
        answer.headers |= id_header(bucket, version) | {"Last-Modified": http_date(version.modified)}
        return answer

    def get_object_acl(self, request: S3Request) -> Answer:
        with self._store.lock:
            self._objects.find(request)
        return Answer(200, acl_document(), {"Content-Type": "application/xml"})

    def get_object_lock(self, request: S3Request) -> Answer:
        with self._store.lock:
            self._objects.find(request)
        raise S3Error(
            "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration"
        )


def _parts_page(request: S3Request, parts: tuple[Part, ...]) -> list[tuple[str, object]]:
    """One page of an object's parts: `x-amz-max-parts` of them beyond `x-amz-part-number-marker`."""
    asked = {name: request.headers.get(f"x-amz-{name}", "") for name in ("max-parts", "part-number-marker")}
    for name, text in asked.items():
        if text and not text.isdigit():
            raise S3Error("InvalidArgument", f"{name} must be a number", ArgumentName=name)
    after, limit = int(asked["part-number-marker"] or 0), min(int(asked["max-parts"] or 1000), 1000)
    rest = [part for part in parts if part.number > after]
    shown = rest[:limit]
    return [
        ("PartsCount", len(parts)),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", shown[-1].number if shown else after),
        ("MaxParts", limit),
        ("IsTruncated", len(rest) > len(shown)),
        *(
            ("Part", [("PartNumber", p.number), ("Size", p.size), (p.checksum.member, p.checksum.value)])
            for p in shown
        ),
    ]


def acl_document() -> bytes:
    owner = [("ID", OWNER_ID)]
    grantee = f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>{OWNER_ID}</ID></Grantee>'
    text = xml(
        "AccessControlPolicy",
        ("Owner", owner),
        ("AccessControlList", [("Grant", [("Permission", "FULL_CONTROL")])]),
    )
    return text.replace(b"<Permission>", grantee.encode() + b"<Permission>")

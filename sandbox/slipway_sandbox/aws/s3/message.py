"""S3's requests and answers: which operation is asked of which bucket and key, and XML both ways."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from slipway_sandbox.aws.http import Environ
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.wire import Scope, scope_of

# the example owner of S3's own documentation
OWNER_ID = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
DOCUMENT_LIMIT = 2 << 20  # bytes of an XML or JSON body; 10,000 parts with checksums take about 1.5 MB
VIRTUAL_HOST = re.compile(
    r"(?P<bucket>[a-z0-9.-]+)\.(?:s3[.-][a-z0-9.-]*amazonaws\.com|s3\.amazonaws\.com|localhost)"
)

# sub-resources of a bucket: query name -> the noun in the operation's name
BUCKET_DOCUMENTS = {
    "accelerate": "BucketAccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCors",
    "encryption": "BucketEncryption",
    "lifecycle": "BucketLifecycleConfiguration",
    "logging": "BucketLogging",
    "notification": "BucketNotificationConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "PublicAccessBlock",
    "replication": "BucketReplication",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
# Sub-resources of objects that are not here: read as plain objects, they would answer with the body.
ABSENT = ("acl", "attributes", "legal-hold", "restore", "retention", "select", "tagging", "torrent")
VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}


@dataclass
class S3Request:
    """One request, its names decoded; header names in lower case."""

    environ: Environ = field(repr=False)
    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    scope: Scope | None
    request_id: str
    operation: str = ""
    subresource: str = ""

    @classmethod
    def of(cls, environ: Environ) -> S3Request:
        raw, _, query = str(environ["REQUEST_URI"]).partition("?")
        host = str(environ.get("HTTP_HOST", "")).partition(":")[0]
        virtual = VIRTUAL_HOST.fullmatch(host)
        path = raw.lstrip("/") if not virtual else f"{virtual['bucket']}/{raw[1:]}"
        if not virtual and raw.startswith("//"):
            path = raw[1:]
        bucket, _, key = path.partition("/")
        request = cls(
            environ=environ,
            method=str(environ["REQUEST_METHOD"]),
            bucket=unquote(bucket),
            key=unquote(key),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=_headers(environ),
            scope=scope_of(environ),
            request_id=uuid.uuid4().hex[:16].upper(),
        )
        request.operation = _operation(request)
        return request

    def document(self) -> bytes:
        """A small body, whole. Raises EntityTooLarge, as a config document never is large."""
        stream = self.environ["wsgi.input"]
        length = int(self.headers.get("content-length") or 0)
        if length > DOCUMENT_LIMIT:
            raise S3Error("EntityTooLarge", ProposedSize=length, MaxSizeAllowed=DOCUMENT_LIMIT)
        return bytes(stream.read(length))

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """An integer of the query. Raises InvalidArgument outside low to high."""
        text = self.query.get(name) or str(default)
        if not text.lstrip("-").isdigit() or not low <= int(text):
            raise S3Error(
                "InvalidArgument",
                f"Provided {name} not an integer or within integer range",
                ArgumentName=name,
            )
        return min(int(text), high)


def _headers(environ: Environ) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _operation(request: S3Request) -> str:
    """The operation's name in the API, e.g. PutObject; faults and denials speak of it."""
    if not request.bucket:
        return "ListBuckets"
    return _object_operation(request) if request.key else _bucket_operation(request)


def _object_operation(request: S3Request) -> str:
    query, copies = request.query, "x-amz-copy-source" in request.headers
    if absent := next((name for name in ABSENT if name in query), None):
        raise S3Error("NotImplemented", f"the sandbox's S3 has no ?{absent} of objects")
    if "uploadId" in query:
        names = {
            "GET": "ListParts",
            "PUT": "UploadPartCopy" if copies else "UploadPart",
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }
    elif "uploads" in query:
        names = {"POST": "CreateMultipartUpload"}
    else:
        names = {
            "GET": "GetObject",
            "HEAD": "HeadObject",
            "PUT": "CopyObject" if copies else "PutObject",
            "DELETE": "DeleteObject",
        }
    return _named(names, request)


def _bucket_operation(request: S3Request) -> str:
    query = request.query
    if "uploads" in query:
        names = {"GET": "ListMultipartUploads"}
    elif "versions" in query:
        names = {"GET": "ListObjectVersions"}
    elif "delete" in query:
        names = {"POST": "DeleteObjects"}
    elif found := next((name for name in BUCKET_DOCUMENTS if name in query), None):
        request.subresource = found
        names = {verb: word + BUCKET_DOCUMENTS[found] for verb, word in VERBS.items()}
    else:
        names = {
            "GET": "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects",
            "HEAD": "HeadBucket",
            "PUT": "CreateBucket",
            "DELETE": "DeleteBucket",
        }
    return _named(names, request)


def _named(names: Mapping[str, str], request: S3Request) -> str:
    if request.method not in names:
        raise S3Error(
            "MethodNotAllowed", Method=request.method, ResourceType="OBJECT" if request.key else "BUCKET"
        )
    return names[request.method]


@dataclass
class Answer:
    """What goes back: bytes, or blocks of `length` bytes as they are read."""

    status: int = 200
    body: bytes | Iterable[bytes | memoryview] = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


def xml(root: str, *children: Any) -> bytes:
    """A document of nested ("Name", value) pairs; a value is text, a list of pairs, or None (left out)."""
    inside = "".join(_element(*child) for child in children if child is not None)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{XMLNS}">{inside}</{root}>'
    return text.encode()


def _element(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return f"<{name}>{''.join(_element(*child) for child in value if child is not None)}</{name}>"
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, datetime):
        value = iso(value)
    return f"<{name}>{escape(str(value))}</{name}>"


def xml_answer(root: str, *children: Any) -> Answer:
    return Answer(200, xml(root, *children), {"Content-Type": "application/xml"})


def error_document(error: S3Error, request_id: str, resource: str) -> bytes:
    """S3's error documents have no namespace."""
    inside = "".join(
        _element(name, value)
        for name, value in (
            ("Code", error.code),
            ("Message", error.message),
            *error.fields.items(),
            ("Resource", resource),
            ("RequestId", request_id),
        )
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'.encode()


def parse(document: bytes) -> ElementTree.Element:
    """The document without namespaces. Raises MalformedXML."""
    try:
        root = ElementTree.fromstring(document)  # noqa: S314  from a client on this machine, its size bounded
    except ElementTree.ParseError as error:
        raise S3Error("MalformedXML") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def tags_of(document: bytes) -> dict[str, str]:
    """A Tagging document as a mapping. Raises MalformedXML or InvalidTag."""
    tags: dict[str, str] = {}
    for tag in parse(document).iter("Tag"):
        key, value = tag.findtext("Key"), tag.findtext("Value")
        if key is None:
            raise S3Error("MalformedXML")
        if key in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
        tags[key] = value or ""
    return tags


def tag_set(tags: Mapping[str, str]) -> tuple[str, list[tuple[str, list[tuple[str, str]]]]]:
    return "TagSet", [("Tag", [("Key", key), ("Value", value)]) for key, value in tags.items()]


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


def parse_http_date(text: str) -> datetime | None:
    """None for what is no date: S3 ignores such a condition."""
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None

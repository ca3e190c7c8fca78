"""Amazon S3 of its own, in front of moto's: bodies in files and never whole in memory, every checksum enforced.

moto accepts a wrong checksum and keeps three to five times each object in memory, so a verification could never be
seen to fail. Not here: ACLs beyond the owner's, object tags and attributes, aws-chunked bodies, policies and encryption are kept but not enforced, chunk signatures
are not verified, lifecycle rules do not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from botocore import xform_name

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.http import Environ, StartResponse
from slipway_sandbox.aws.s3 import encryption, listing, multipart
from slipway_sandbox.aws.s3.buckets import Buckets, check_owner
from slipway_sandbox.aws.s3.control import PREFIX, Control
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import Answer, S3Request, error_document
from slipway_sandbox.aws.s3.multipart import Multipart
from slipway_sandbox.aws.s3.objects import Objects
from slipway_sandbox.aws.s3.store import Store
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCOUNT_ID, Settings

Operation = Callable[[S3Request], Answer]


class S3:
    """The WSGI application. Faults: `s3-denied`, `s3-503`, `s3-disconnect`, their target the operation (UploadPart)."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self._faults = faults
        self._store = Store(settings.root / "s3")
        objects = Objects(self._store, faults)
        self._buckets = Buckets(self._store, settings.region)
        self._control = Control(self._store, faults)
        self._parts: list[Any] = [
            objects,
            Multipart(self._store, objects),
            self._buckets,
        ]
        self._lists: dict[str, Callable[[Store, S3Request], Answer]] = {
            "ListObjectsV2": listing.list_objects_v2,
            "ListObjectVersions": listing.list_object_versions,
            "ListMultipartUploads": multipart.list_uploads,
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if str(environ["REQUEST_URI"]).startswith(PREFIX):  # S3 Control, signed for S3 as well
            return self._control(environ, start_response)
        request = None
        try:
            request = S3Request.of(environ)
            answer = self._answer(request)
        except S3Error as error:
            request_id = request.request_id if request else "0" * 16
            answer = Answer(error.status, b"", {"Content-Type": "application/xml", **error.headers})
            if error.status != HTTPStatus.NOT_MODIFIED and environ["REQUEST_METHOD"] != "HEAD":
                answer.body = error_document(error, request_id, str(environ.get("PATH_INFO", "")))
        return _send(answer, request, start_response)

    def tagged(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """(ARN, resource type, live tags) of the buckets, for the Resource Groups Tagging API."""
        with self._store.lock:
            found = [bucket for bucket in self._store.buckets.values() if bucket.owner == ACCOUNT_ID]
        for bucket in found:
            yield f"arn:aws:s3:::{bucket.name}", "s3:bucket", bucket.tags

    def key_for(self, request: S3Request) -> str | None:
        """The KMS key that the bytes of this request are sealed with."""
        with self._store.lock:
            bucket = self._store.buckets.get(request.bucket)
            if bucket is None or not request.key:
                return None
            upload = bucket.uploads.get(request.query.get("uploadId", ""))
            version = bucket.latest(request.key)
        if upload:
            headers: Mapping[str, str] = upload.headers
        elif request.method == "GET":
            headers = version.headers if version else {}
        else:
            headers = encryption.headers_for(bucket, request.headers)
        return headers.get(encryption.KEY_ID) if encryption.by_kms(headers) else None

    def _answer(self, request: S3Request) -> Answer:
        operation = request.operation
        if request.scope is None and "AWSAccessKeyId" not in request.query:
            raise S3Error("AccessDenied")
        if operation != "CreateBucket":
            check_owner(self._store, request.bucket, request, "x-amz-expected-bucket-owner")
        self._faults.wait("aws-slow", f"s3 {operation} {request.bucket}/{request.key}")
        if self._faults.hit("s3-denied", target=operation):
            raise S3Error("AccessDenied", _denial(request))
        if self._faults.hit("s3-503", target=operation):
            raise S3Error("SlowDown", headers={"Retry-After": "1"})
        if operation in self._lists:
            return self._lists[operation](self._store, request)
        return self._operation(request)(request)

    def _operation(self, request: S3Request) -> Operation:
        if request.subresource:
            verbs: dict[str, Operation] = {
                "GET": self._buckets.read_document,
                "PUT": self._buckets.write_document,
                "DELETE": self._buckets.delete_document,
            }
            return verbs[request.method]
        name = xform_name(request.operation)
        for part in self._parts:
            found: Operation | None = getattr(part, name, None)
            if found:
                return found
        raise S3Error("NotImplemented", f"the sandbox does not implement {request.operation}")


def _send(answer: Answer, request: S3Request | None, start_response: StartResponse) -> Iterable[Any]:
    length = answer.length
    if isinstance(answer.body, bytes):
        length = len(answer.body) if length is None else length
        body: Iterable[Any] = [answer.body]
    else:
        body = answer.body
    headers = {
        "x-amz-request-id": request.request_id if request else "0" * 16,
        "x-amz-id-2": "sandbox",
        "Server": "AmazonS3",
        **answer.headers,
    }
    if answer.status not in (204, 304):
        headers["Content-Length"] = str(length or 0)
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(headers.items()))
    return body


def _denial(request: S3Request) -> str:
    """In the words S3 uses, so that evidence names who, what and where."""
    who = identity.identify(request.scope.access_key) if request.scope else None
    resource = f"arn:aws:s3:::{request.bucket}" + (f"/{request.key}" if request.key else "")
    action = {
        "ListObjectsV2": "ListBucket",
        "HeadObject": "GetObject",
        "CreateMultipartUpload": "PutObject",
        "UploadPart": "PutObject",
        "CompleteMultipartUpload": "PutObject",
    }.get(request.operation, request.operation)
    return (
        f"User: {who.arn if who else 'anonymous'} is not authorized to perform: s3:{action} on resource: "
        f'"{resource}" because no identity-based policy allows the s3:{action} action'
    )

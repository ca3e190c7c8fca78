"""S3 Control's tags of buckets: what Terraform's provider reads and writes them with since 6.23.

docs.aws.amazon.com/AmazonS3/latest/API/API_control_TagResource.html (and ListTagsForResource, UntagResource). SDKs put
the account before the endpoint's host; `slipway_sandbox.terraform.install` says how they get here all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from slipway_sandbox.aws.http import Environ, StartResponse
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import DOCUMENT_LIMIT, tags_of
from slipway_sandbox.aws.s3.store import Bucket, Store
from slipway_sandbox.faults import Faults

PREFIX = "/v20180820/"
TAGS = PREFIX + "tags/"
XMLNS = "http://awss3control.amazonaws.com/doc/2018-08-20/"
OPERATIONS = {"GET": "ListTagsForResource", "POST": "TagResource", "DELETE": "UntagResource"}
BUCKET_TAGS = 50  # docs.aws.amazon.com/AmazonS3/latest/userguide/CostAllocTagging.html


class Control:
    """The WSGI application. The fault `s3-denied` strikes by operation (TagResource)."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            status, body = self._answer(environ)
        except S3Error as error:
            status, body = error.status, _error(error)
        headers = [("Content-Type", "application/xml"), ("x-amz-request-id", "0" * 16)]
        if body:
            headers.append(("Content-Length", str(len(body))))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _answer(self, environ: Environ) -> tuple[int, bytes]:
        path, _, query = str(environ["REQUEST_URI"]).partition("?")
        operation = OPERATIONS.get(environ["REQUEST_METHOD"])
        if operation is None or not path.startswith(TAGS):
            raise S3Error("NotImplemented", f"the sandbox's S3 Control has tags of buckets only, not {path}")
        arn = unquote(path.removeprefix(TAGS))
        if self._faults.hit("s3-denied", target=operation):
            raise S3Error(
                "AccessDenied", f"User is not authorized to perform: s3:{operation} on resource: {arn}"
            )
        document = b""
        if operation == "TagResource":
            document = environ["wsgi.input"].read(
                min(int(environ.get("CONTENT_LENGTH") or 0), DOCUMENT_LIMIT)
            )
        with self._store.lock:
            bucket = self._bucket(arn)
            if operation == "ListTagsForResource":
                return 200, _listing(bucket.tags)
            if operation == "TagResource":
                tags = bucket.tags | tags_of(document)
            else:
                gone = parse_qs(query, keep_blank_values=True).get("tagKeys", [])
                tags = {key: value for key, value in bucket.tags.items() if key not in gone}
            if len(tags) > BUCKET_TAGS:
                raise S3Error("InvalidTag", f"Bucket tag count cannot be greater than {BUCKET_TAGS}")
            bucket.tags = tags
        return 204, b""

    def _bucket(self, arn: str) -> Bucket:
        """Raises NoSuchBucket, and InvalidRequest for what is no bucket's ARN."""
        if not arn.startswith("arn:aws:s3:::") or "/" in arn:
            raise S3Error("InvalidRequest", f"The resource ARN {arn} is not a bucket's")
        return self._store.bucket(arn.removeprefix("arn:aws:s3:::"))


def _listing(tags: dict[str, str]) -> bytes:
    rows = "".join(
        f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>" for key, value in tags.items()
    )
    text = f'<ListTagsForResourceResult xmlns="{XMLNS}"><Tags>{rows}</Tags></ListTagsForResourceResult>'
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()


def _error(error: S3Error) -> bytes:
    """Unlike S3's own, wrapped: botocore's and Go's S3 Control read the error inside an ErrorResponse."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ErrorResponse><Error>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{'0' * 16}</RequestId></ErrorResponse>"
    ).encode()

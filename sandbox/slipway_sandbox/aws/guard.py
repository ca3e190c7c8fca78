"""In front of every service: a call whose owner lacks an action is refused in that service's words."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from slipway_sandbox.aws.access import Access, Need
from slipway_sandbox.aws.http import Application, Environ, StartResponse
from slipway_sandbox.aws.needs import needs_of, needs_of_s3
from slipway_sandbox.aws.s3 import S3, control
from slipway_sandbox.aws.s3.errors import S3Error
from slipway_sandbox.aws.s3.message import S3Request, error_document
from slipway_sandbox.aws.wire import AwsError, JsonApi, Scope, scope_of

SMALL = ("CreateBucket", "DeleteObjects")  # S3's operations whose body says what is needed


class Guard:
    """A WSGI application around the front; unsigned calls pass, as nobody can be asked about them."""

    def __init__(self, front: Application, access: Access, eks: JsonApi, s3: S3) -> None:
        self._front, self._access, self._eks, self._s3 = front, access, eks, s3

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        scope = scope_of(environ)
        if scope is None:
            return self._front(environ, start_response)
        for need in self._needs(environ, scope):
            words = self._access.denial(scope.access_key, need)
            if words:
                return _refuse(environ, scope.service, need, words, start_response)
        return self._front(environ, start_response)

    def _needs(self, environ: Environ, scope: Scope) -> Iterator[Need]:
        if scope.service == "s3":
            yield from self._needs_of_s3(environ)
            return
        body = _body(environ)
        if scope.service == "eks":
            try:
                model, parameters = self._eks.request(environ)
            except AwsError:
                return  # the service says it itself
            operation: str = model.name
        elif target := environ.get("HTTP_X_AMZ_TARGET"):
            operation, parameters = str(target).rpartition(".")[2], json.loads(body or b"{}")
        else:
            form = parse_qs(f"{environ.get('QUERY_STRING', '')}&{body.decode()}")
            parameters = {name: values[0] for name, values in form.items()}
            operation = str(parameters.get("Action", ""))
        environ["wsgi.input"] = io.BytesIO(body)
        yield from needs_of(scope.service, operation, parameters, scope.region)

    def _needs_of_s3(self, environ: Environ) -> Iterator[Need]:
        path = str(environ["REQUEST_URI"]).partition("?")[0]
        if path.startswith(control.TAGS):
            operation = control.OPERATIONS.get(environ["REQUEST_METHOD"], "")
            yield Need(f"s3:{operation}", unquote(path.removeprefix(control.TAGS)))
            return
        try:
            request = S3Request.of(environ)
        except S3Error:
            return
        body = _body(environ) if request.operation in SMALL else b""
        yield from needs_of_s3(request, body, self._s3.key_for(request))


def _body(environ: Environ) -> bytes:
    """The whole body, which stays to be read."""
    body = bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _refuse(
    environ: Environ, service: str, need: Need, words: str, start_response: StartResponse
) -> list[bytes]:
    if service == "s3":
        status, kind = 403, "application/xml"
        body = error_document(S3Error("AccessDenied", words), "0" * 16, str(environ.get("PATH_INFO", "")))
    elif service == "ec2":
        status, kind = 403, "text/xml"
        words = f"You are not authorized to perform this operation. {words}"
        error = f"<Error><Code>UnauthorizedOperation</Code><Message>{escape(words)}</Message></Error>"
        body = f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>".encode()
    elif service in ("iam", "sts"):
        status, kind = 403, "text/xml"
        error = (
            f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{escape(words)}</Message></Error>"
        )
        body = f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>".encode()
    else:
        status, kind = (403 if service == "eks" else 400), "application/json"
        code = "InvalidRequestException" if need.refusal else "AccessDeniedException"
        document: dict[str, Any] = {"__type": code, "message": need.refusal or words}
        body = json.dumps(document).encode()
        start_response(f"{status} Refused", [*_headers(kind, body), ("x-amzn-ErrorType", code)])
        return [body]
    start_response(f"{status} Forbidden", _headers(kind, body))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _headers(kind: str, body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", kind), ("Content-Length", str(len(body)))]

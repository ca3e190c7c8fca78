"""AWS's two JSON protocols on the server's side, read from botocore's own service models.

A service is an object with one method an operation (`create_cluster(parameters, caller) -> dict`); `JsonApi` finds
the operation, gathers its parameters from path, query and body, and writes the answer or the error.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from slipway_sandbox.aws.http import Environ, StartResponse
from slipway_sandbox.settings import ACCOUNT_ID

CREDENTIAL = re.compile(r"Credential=([^/,]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")
Document = dict[str, Any]


class AwsError(Exception):
    """An error as AWS names it. `status` is the HTTP status, `fields` what the error's shape has beside its message."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.fields = code, message, status, fields


@dataclass(frozen=True)
class Scope:
    """What a request was signed for: who, in which region, for which service."""

    access_key: str
    region: str
    service: str


@dataclass(frozen=True)
class Caller:
    """Who calls, and where."""

    access_key: str
    region: str
    account: str = ACCOUNT_ID


def scope_of(environ: Environ) -> Scope | None:
    """The credential scope of a SigV4 request, from its header or its query; None for an unsigned request."""
    found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if found:
        return Scope(found[1], found[3], found[4])
    query = environ.get("QUERY_STRING", "")
    if "X-Amz-Credential" in query:
        parts = parse_qs(query)["X-Amz-Credential"][0].split("/")
        if len(parts) == 5:
            return Scope(parts[0], parts[2], parts[3])
    return None


class JsonApi:
    """One service as a WSGI application: restJson1 or awsJson1.1, whichever its model says."""

    def __init__(self, model: str, service: object) -> None:
        self._model = ServiceModel(Loader().load_service_model(model, "service-2"), model)
        self._service = service
        self._routes = [(op.http["method"], _pattern(op.http["requestUri"]), op) for op in self._operations()]

    def _operations(self) -> list[OperationModel]:
        return [self._model.operation_model(name) for name in self._model.operation_names]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            operation, parameters = self.request(environ)
            scope = scope_of(environ)
            if scope is None:
                raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
            method = getattr(self._service, xform_name(operation.name), None)
            if method is None:
                raise AwsError(
                    "UnknownOperationException", f"the sandbox does not implement {operation.name}", 501
                )
            answer = method(parameters, Caller(scope.access_key, scope.region))
            status, headers, document = 200, [], answer or {}
        except AwsError as error:
            status = error.status
            headers = [("x-amzn-ErrorType", error.code)]
            document = {"__type": error.code, "message": error.message, **error.fields}
        payload = json.dumps(_plain(document)).encode()
        start_response(
            f"{status} {'OK' if status == 200 else 'Error'}",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(payload))),
                ("x-amzn-RequestId", str(uuid.uuid4())),
                *headers,
            ],
        )
        return [payload]

    def request(self, environ: Environ) -> tuple[OperationModel, Document]:
        """The operation that is asked for and its parameters. Raises AwsError."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            document = json.loads(body) if body else {}
        except ValueError as error:
            raise AwsError("SerializationException", f"the body is no JSON: {error}") from error
        target = environ.get("HTTP_X_AMZ_TARGET")
        if target:
            name = target.rpartition(".")[2]
            if name not in self._model.operation_names:
                raise AwsError("UnknownOperationException", name)
            return self._model.operation_model(name), document
        path, _, query = environ["REQUEST_URI"].partition("?")
        for method, pattern, operation in self._routes:
            found = pattern.fullmatch(path)
            if method == environ["REQUEST_METHOD"] and found:
                labels = {key: unquote(value) for key, value in found.groupdict().items()}
                return operation, _gather(operation, labels, parse_qs(query), document)
        raise AwsError("UnknownOperationException", f"{environ['REQUEST_METHOD']} {path}", 404)


def _pattern(uri: str) -> re.Pattern[str]:
    path = uri.partition("?")[0]
    parts = re.split(r"\{(\w+)\+?\}", path)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _gather(
    operation: OperationModel, labels: Mapping[str, str], query: Mapping[str, list[str]], body: Document
) -> Document:
    """Parameters by member name, from wherever the model says each one travels."""
    parameters: Document = {}
    members = operation.input_shape.members if operation.input_shape else {}
    for name, shape in members.items():
        where = shape.serialization.get("location")
        wire = shape.serialization.get("name", name)
        if where == "uri" and wire in labels:
            parameters[name] = labels[wire]
        elif where == "querystring" and wire in query:
            parameters[name] = _typed(shape.type_name, query[wire])
        elif where is None and wire in body:
            parameters[name] = body[wire]
    return parameters


def _typed(kind: str, values: list[str]) -> Any:
    if kind == "list":
        return values
    if kind in ("integer", "long"):
        return int(values[0])
    return values[0] == "true" if kind == "boolean" else values[0]


def _plain(value: Any) -> Any:
    """JSON as AWS writes it: times as epoch seconds, absent members left out."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).timestamp()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def page(names: list[str], parameters: Document, limit: int = 100) -> tuple[list[str], str | None]:
    """One page of sorted names and the token of the next (the first name of it), as `maxResults`/`nextToken` ask."""
    size = int(parameters.get("maxResults") or limit)
    rest = [name for name in sorted(names) if name >= (parameters.get("nextToken") or "")]
    return rest[:size], rest[size] if len(rest) > size else None

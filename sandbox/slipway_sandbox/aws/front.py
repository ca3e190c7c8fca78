"""The one AWS endpoint: by the service a request was signed for, it goes to the sandbox's own services or to moto."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from botocore import xform_name

from slipway_sandbox.aws.eks import Eks
from slipway_sandbox.aws.http import Application, Environ, StartResponse
from slipway_sandbox.aws.wire import AwsError, JsonApi, scope_of
from slipway_sandbox.memory import give_back

ENTRIES = "/slipway/access-entries/"


class Front:
    """`services` by signing name (eks, s3, servicequotas, pricing …); everything else is `rest`'s, that is moto's.

    `GET /slipway/access-entries/CLUSTER` is how a cluster's authenticator reads its own access entries.
    """

    def __init__(self, services: Mapping[str, Application], rest: Application, eks: Eks) -> None:
        self._services, self._rest, self._eks = services, rest, eks
        self._used: set[str] = set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        if path.startswith(ENTRIES):
            return self._entries(unquote(path.removeprefix(ENTRIES)), start_response)
        application = self._choose(environ, path)
        if application is self._rest:
            return self._of_moto(environ, start_response)
        return application(environ, start_response)

    def _of_moto(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """moto reads a service's tables for its first answer, and drops most of what it read."""
        scope = scope_of(environ)
        service = scope.service if scope else ""
        if service in self._used:
            return self._rest(environ, start_response)
        self._used.add(service)
        answer = list(self._rest(environ, start_response))
        give_back()
        return answer

    def _choose(self, environ: Environ, path: str) -> Application:
        scope = scope_of(environ)
        if scope is not None:
            return self._services.get(scope.service, self._rest)
        if "HTTP_X_AMZ_TARGET" in environ or path.startswith("/moto-api"):
            return self._rest
        if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
            return self._rest  # unsigned STS calls: AssumeRoleWithWebIdentity
        return self._services["s3"]  # anonymous, or signed in the older way

    def _entries(self, cluster: str, start_response: StartResponse) -> Iterable[bytes]:
        try:
            status = "200 OK"
            document: dict[str, Any] = {"entries": self._eks.access_entries(cluster)}
        except AwsError as error:
            status, document = "404 Not Found", {"message": error.message}
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


class Overlay:
    """A JSON service of moto's with some operations of our own in front."""

    def __init__(self, model: str, service: object, rest: Application) -> None:
        self._own, self._service, self._rest = JsonApi(model, service), service, rest

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        target = str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
        chosen: Any = self._own if hasattr(self._service, xform_name(target)) else self._rest
        blocks: Iterable[bytes] = chosen(environ, start_response)
        return blocks

"""The one AWS endpoint: by the service a request was signed for, it goes to the sandbox's own services or to moto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.aws.http import Application, Environ, StartResponse
from sandbox.aws.wire import scope_of


class Front:
    """`services` by signing name (eks, s3, servicequotas, pricing …); everything else is `rest`'s, that is moto's."""

    def __init__(self, services: Mapping[str, Application], rest: Application) -> None:
        self._services, self._rest = services, rest

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self._choose(environ)(environ, start_response)

    def _choose(self, environ: Environ) -> Any:
        scope = scope_of(environ)
        if scope is not None:
            return self._services.get(scope.service, self._rest)
        return self._rest

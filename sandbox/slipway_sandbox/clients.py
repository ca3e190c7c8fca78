"""boto3 sessions whose clients all speak to one sandbox, whatever the process's environment says."""

from __future__ import annotations

from typing import Any

import boto3

from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY, Settings


class SandboxSession(boto3.session.Session):
    """A boto3 session with the sandbox's credentials, and its endpoint for every client."""

    def __init__(self, settings: Settings, region: str | None = None) -> None:
        super().__init__(ACCESS_KEY, SECRET_KEY, region_name=region or settings.region)
        self._endpoint = settings.aws_url

    def client(self, service: str, **more: Any) -> Any:  # type: ignore[override]
        """A client of the service; `more` as boto3 takes it."""
        return super().client(service, **{"endpoint_url": self._endpoint, **more})  # type: ignore[call-overload]

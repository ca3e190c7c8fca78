"""The region's door: where a cluster's control plane is really started and stopped."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from urllib.parse import quote

import urllib3

from slipway_sandbox.settings import Settings

DEADLINE = 60.0  # seconds for an API server to listen; it takes about one
NO_REGION = "SLIPWAY_SANDBOX_NO_REGION"


class DoorClosed(Exception):
    """The region did not start the control plane; the message says what it answered."""


@dataclass(frozen=True)
class ControlPlane:
    """Where a cluster's API server listens; the CA is base64 PEM, as DescribeCluster shows it."""

    endpoint: str
    certificate_authority: str


class Door:
    """Starts and stops control planes in the region process.

    With SLIPWAY_SANDBOX_NO_REGION=1 there is no region (AWS alone is under test): clusters get an endpoint nobody
    listens on.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.control_url}/control-planes"
        self._region = settings.region
        self._none = os.environ.get(NO_REGION) == "1"
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=DEADLINE), retries=False)

    def open(self, cluster: str) -> ControlPlane:
        """Start the control plane. Raises DoorClosed."""
        if self._none:
            pem = "-----BEGIN CERTIFICATE-----\nno region listens\n-----END CERTIFICATE-----\n"
            return ControlPlane(
                f"https://{cluster}.{self._region}.eks.invalid", base64.b64encode(pem.encode()).decode()
            )
        answer = json.loads(self._request("PUT", cluster))
        return ControlPlane(answer["endpoint"], answer["certificateAuthority"])

    def close(self, cluster: str) -> None:
        """Stop the control plane. Raises DoorClosed."""
        if not self._none:
            self._request("DELETE", cluster)

    def _request(self, method: str, cluster: str) -> bytes:
        try:
            response = self._http.request(method, f"{self._url}/{quote(cluster)}")
        except urllib3.exceptions.HTTPError as error:
            raise DoorClosed(f"the sandbox's region does not answer at {self._url}: {error}") from error
        if response.status >= 300 and not (method == "DELETE" and response.status == 404):
            raise DoorClosed(f"the sandbox's region answered {response.status}: {response.data[:500]!r}")
        return bytes(response.data)

"""Start runs of deployments, and emit events, by Prefect's API alone. Routes and bodies: prefect 3.8.8, server/api/deployments.py, events.py."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from tasks.records.errors import PrefectUnavailable

SECONDS = 20.0


@dataclass(frozen=True)
class Run:
    """A run's type of state, and whether it ever began: one that a concurrency limit cancels has not."""

    state: str
    began: bool


@dataclass(frozen=True)
class FlowRuns:
    """Prefect's API at `url` (it ends in /api). `authorization`: the header's value, None where there is none."""

    url: str
    authorization: str | None = None

    def start(
        self, flow: str, environment: str, parameters: Mapping[str, Any], key: str, otherwise: str
    ) -> Run:
        """Start a run of FLOW/ENVIRONMENT; with the key of an earlier one that is there, as it is now.

        `otherwise`: the command that does the same by hand. Raises PrefectUnavailable.
        """
        asked = {"parameters": dict(parameters), "idempotency_key": key}
        try:
            with self._client() as client:
                name = f"{self._base}/deployments/name/{flow}/{quote(environment)}"
                deployment = client.get(name).raise_for_status().json()["id"]
                runs = f"{self._base}/deployments/{deployment}/create_flow_run"
                run = client.post(runs, json=asked).raise_for_status().json()
                return Run(str(run["state_type"]), run.get("start_time") is not None)
        except (httpx.HTTPError, ValueError, KeyError) as error:  # the last two: something else answers there
            raise PrefectUnavailable(
                f"the run {flow}/{environment} could not be asked for",
                evidence=[f"{type(error).__name__}: {error}"],
                next_command=otherwise,
            ) from error

    def emit(self, event: str, resource: Mapping[str, str], payload: Mapping[str, Any]) -> None:
        """Emit one event. Raises PrefectUnavailable."""
        one = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": dict(resource),
            "payload": dict(payload),
        }
        try:
            with self._client() as client:
                client.post(f"{self._base}/events", json=[one]).raise_for_status()
        except httpx.HTTPError as error:
            raise PrefectUnavailable(
                f"the event {event} could not be told",
                evidence=[f"{type(error).__name__}: {error}"],
                next_command="prefect version  # does its server answer?",
            ) from error

    @property
    def _base(self) -> str:
        return self.url.rstrip("/")

    def _client(self) -> httpx.Client:
        headers = {"Authorization": self.authorization} if self.authorization else {}
        return httpx.Client(headers=headers, timeout=SECONDS, trust_env=False)


def basic(auth_string: str | None) -> str | None:
    """The header of a server's own authentication, PREFECT_API_AUTH_STRING; None where there is none."""
    return f"Basic {base64.b64encode(auth_string.encode()).decode()}" if auth_string else None

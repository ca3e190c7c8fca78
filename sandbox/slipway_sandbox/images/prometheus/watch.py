"""Watch the objects discovery needs in the Kubernetes API, and update the scraper on each change."""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slipway_sandbox.apiclient import ApiClient, Informer
from slipway_sandbox.images.prometheus.discovery import Cluster, targets
from slipway_sandbox.images.prometheus.scrape import Scraper

_MONITORING = "monitoring.coreos.com/v1"
_SETTLE_SECONDS = 0.1  # handle changes that arrive together as one


@dataclass(frozen=True)
class Access:
    """How to reach an API server: URL, optional bearer token, TLS."""

    server: str
    token: str | None
    tls: ssl.SSLContext

    def client(self) -> ApiClient:
        return ApiClient(self.server, self.token, self.tls)


def read_kubeconfig(path: Path) -> Access:
    """Read a kubeconfig's current context, with a token or a client certificate. Raises KeyError, StopIteration."""
    document = yaml.safe_load(path.read_text())

    def named(kind: str, name: str) -> dict[str, Any]:
        entries = {entry["name"]: entry[kind] for entry in document[f"{kind}s"]}
        found: dict[str, Any] = entries[name]
        return found

    context = named("context", document["current-context"])
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    authority = _content(cluster, "certificate-authority", path)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    certificate, key = _content(user, "client-certificate", path), _content(user, "client-key", path)
    if certificate and key:
        with tempfile.NamedTemporaryFile() as pair:  # ssl takes a client certificate from a file only
            pair.write(certificate + b"\n" + key)
            pair.flush()
            tls.load_cert_chain(pair.name)
    token = user.get("token")
    if token is None and "tokenFile" in user:
        token = (path.parent / user["tokenFile"]).read_text().strip()
    return Access(cluster["server"], token, tls)


def _content(entry: dict[str, Any], name: str, kubeconfig: Path) -> bytes | None:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"])
    return (kubeconfig.parent / entry[name]).read_bytes() if name in entry else None


class Discovery:
    """Keeps `scraper` at the targets of the Prometheus object `namespace/name`."""

    def __init__(
        self, client: ApiClient, scraper: Scraper, namespace: str, name: str, fastest: float
    ) -> None:
        self._scraper, self._fastest = scraper, fastest
        self._object = (namespace, name)
        self._changed = asyncio.Event()

        def follow(path: str) -> Informer:
            return Informer(client, path, self._note(path))

        path = client.path
        self._prometheuses = follow(path(_MONITORING, "prometheuses"))
        self._pod_monitors = follow(path(_MONITORING, "podmonitors"))
        self._service_monitors = follow(path(_MONITORING, "servicemonitors"))
        self._pods = follow(path("v1", "pods"))
        self._services = follow(path("v1", "services"))
        self._slices = follow(path("discovery.k8s.io/v1", "endpointslices"))
        self._namespaces = follow(path("v1", "namespaces"))

    async def run(self) -> None:
        """Run until cancelled, or until an informer fails for good."""
        async with asyncio.TaskGroup() as group:
            for informer in (
                self._prometheuses,
                self._pod_monitors,
                self._service_monitors,
                self._pods,
                self._services,
                self._slices,
                self._namespaces,
            ):
                group.create_task(informer.run())
            group.create_task(self._follow())

    def _note(self, _path: str) -> Callable[[str, dict[str, Any]], None]:
        return lambda _event, _item: self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._changed.clear()
            try:
                found = targets(self._cluster(), self._fastest)
            except (KeyError, ValueError) as error:
                # As the operator does with an invalid monitor: log it and keep the current targets.
                print(f'level=ERROR component="discovery" err="{error}"', file=sys.stderr, flush=True)
                continue
            await self._scraper.update(found)

    def _cluster(self) -> Cluster:
        return Cluster(
            prometheus=self._prometheuses.objects.get(self._object),
            pod_monitors=list(self._pod_monitors.objects.values()),
            service_monitors=list(self._service_monitors.objects.values()),
            pods=list(self._pods.objects.values()),
            services=list(self._services.objects.values()),
            slices=list(self._slices.objects.values()),
            namespaces=list(self._namespaces.objects.values()),
        )

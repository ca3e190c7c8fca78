"""What every node of one cluster shares."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from slipway_sandbox.apiclient import ApiClient, Informer, Object
from slipway_sandbox.faults import Faults
from slipway_sandbox.nodes.addresses import AddressPool
from slipway_sandbox.nodes.aws import Aws
from slipway_sandbox.nodes.events import EventRecorder, reference
from slipway_sandbox.nodes.kubelet.process import ProcessGuard
from slipway_sandbox.nodes.kubelet.volumes import Attacher
from slipway_sandbox.settings import Settings


@dataclass
class Platform:
    """One cluster's surroundings: its API, its AWS, its folder below `settings.root`."""

    client: ApiClient
    settings: Settings
    faults: Faults
    cluster: str
    aws: Aws
    events: EventRecorder
    addresses: AddressPool
    guard: ProcessGuard
    http: aiohttp.ClientSession
    attacher: Attacher
    # The variables of container credentials for a pod, empty without an association: (pod, folder for its token).
    credentials: Callable[[Object, Path], Awaitable[dict[str, str]]]
    forget_credentials: Callable[[str], None]  # pod uid
    services: Informer = field(init=False)  # kube-proxy's view, known once that is made of this

    @property
    def folder(self) -> Path:
        return self.settings.root / "clusters" / self.cluster

    @property
    def hosts_file(self) -> Path:
        return self.folder / "hosts"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "pod-kubeconfig"

    async def token(self) -> str:
        """The bearer token pods get: the sandbox's own."""
        return self.client._token or ""

    def record(
        self, item: Object, kind: str, reason: str, message: str, *, component: str, host: str = ""
    ) -> None:
        """An event about a whole object, which must carry kind and apiVersion."""
        self.events.record(reference(item), kind, reason, message, component=component, host=host)

    def write_kubeconfig(self) -> None:
        """The file pods find in KUBECONFIG, readable by its owner alone."""
        cluster: dict[str, str] = {"server": self.client.server}
        if isinstance(self.client._ssl, ssl.SSLContext):
            authorities = self.client._ssl.get_ca_certs(binary_form=True)
            bundle = "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in authorities)
            cluster["certificate-authority-data"] = base64.b64encode(bundle.encode()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.cluster,
            "clusters": [{"name": self.cluster, "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": self.client._token or ""}}],
            "contexts": [{"name": self.cluster, "context": {"cluster": self.cluster, "user": "sandbox"}}],
        }
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.kubeconfig.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(document, indent=1))
        partial.replace(self.kubeconfig)

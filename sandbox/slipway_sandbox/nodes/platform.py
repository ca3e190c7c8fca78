"""What every node of one cluster shares."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from slipway_sandbox.apiclient import ApiClient, Informer, Object
from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes.kubeconfig import write_kubeconfig
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

    def record(
        self, item: Object, kind: str, reason: str, message: str, *, component: str, host: str = ""
    ) -> None:
        """An event about a whole object, which must carry kind and apiVersion."""
        self.events.record(reference(item), kind, reason, message, component=component, host=host)

    def write_kubeconfig(self) -> None:
        """The file pods find in KUBECONFIG, readable by its owner alone."""
        authorities = []
        if isinstance(self.client._ssl, ssl.SSLContext):
            authorities = self.client._ssl.get_ca_certs(binary_form=True)
        bundle = "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in authorities)
        user = {"token": self.client._token or ""}
        write_kubeconfig(self.kubeconfig, self.cluster, self.client.server, bundle.encode(), user)

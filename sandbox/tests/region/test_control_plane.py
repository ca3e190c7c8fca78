"""A control plane of somebody else's: an API server, controllers and a scheduler without kubelets, and our nodes.

The one here is the embedded server run as a stranger's: its own CA, its own admin, service addresses of another block.
It is asked at the end whether it ever saw a loopback address of a pod, which a real one refuses.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from slipway_sandbox.apiclient import APPLY, ApiClient
from slipway_sandbox.control_plane.credentials import KubeconfigError, check, read
from slipway_sandbox.control_plane.translation import HomeStream, Translation
from slipway_sandbox.controllers import run_controllers
from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes.certificates import Authority, make_authority
from slipway_sandbox.kubernetes.errors import Unauthorized
from slipway_sandbox.kubernetes.server import ApiServer
from slipway_sandbox.settings import SandboxError
from slipway_sandbox.supervisor import up
from slipway_sandbox.testing import EksCluster, start

ADMIN = "their-admin"
NAME = "theirs"
CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
BUSYBOX = "public.ecr.aws/docker/library/busybox:1.37"
LOOKED_AT = [
    *(("", plural) for plural in ("nodes", "pods", "services", "events")),
    ("discovery.k8s.io", "endpointslices"),
]
pytestmark = pytest.mark.timeout(180)
Document = dict[str, Any]


class Stranger:
    """The control plane, on a loop of its own; `conduct` starts its controllers."""

    def __init__(self, folder: Path) -> None:
        self.authority: Authority = make_authority()
        self.folder = folder
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: ApiServer | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)

    async def _start(self) -> None:
        async def authenticate(token: str | None) -> str:
            if token != ADMIN:
                raise Unauthorized
            return "kubernetes-admin"

        faults = Faults(self.folder / "faults.json")
        self._server = ApiServer(
            name=NAME, authenticate=authenticate, faults=faults, service_network="127.251"
        )
        self.port = await self._server.start("127.0.0.1", 0, self.authority.server_context())

    def conduct(self) -> None:
        """Its controller manager and its scheduler."""

        async def run() -> None:
            trust = ssl.create_default_context(cadata=self.authority.ca_pem.decode())
            async with ApiClient(f"https://127.0.0.1:{self.port}", ADMIN, trust) as client:
                await run_controllers(client, Faults(self.folder / "faults.json"))

        self._conducted = asyncio.run_coroutine_threadsafe(run(), self._loop)

    def stored(self, *keys: tuple[str, str]) -> list[Document]:
        """What it holds of these groups and plurals."""

        async def dump() -> list[Document]:
            assert self._server is not None
            return [one.object for key in keys for one in self._server.store.all(key)]

        return asyncio.run_coroutine_threadsafe(dump(), self._loop).result(20)

    def stop(self) -> None:
        async def end() -> None:
            assert self._server is not None
            await self._server.stop()

        with suppress(AttributeError):
            self._conducted.cancel()
        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def kubeconfig(self, **user: Any) -> Path:
        file = self.folder / "kubeconfig"
        authority = base64.b64encode(self.authority.ca_pem).decode()
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority}
        write_kubeconfig(file, cluster, user or {"token": ADMIN})
        return file


def write_kubeconfig(file: Path, cluster: Document, user: Document) -> None:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    made = Stranger(tmp_path_factory.mktemp("theirs"))
    made.start()
    yield made
    made.stop()


@dataclass(frozen=True)
class Ours:
    """The cluster as any client sees it: EKS's endpoint, CA and tokens."""

    eks: EksCluster
    api: httpx.Client

    def get(self, path: str, **query: str) -> Any:
        """The decoded answer; None for 404."""
        answer = self.api.get(path, params=query)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()

    def list(self, path: str, **query: str) -> list[Document]:
        found: list[Document] = self.get(path, **query)["items"]
        return found

    def apply(self, path: str, document: Document) -> httpx.Response:
        """A server-side apply of the document to the collection `path`."""
        url = f"{path}/{document['metadata']['name']}"
        query = {"fieldManager": "test", "force": "true"}
        return self.api.patch(
            url, params=query, content=json.dumps(document), headers={"Content-Type": APPLY}
        )


@pytest.fixture(scope="module")
def ours(stranger: Stranger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    folder, theirs = tmp_path_factory.mktemp("ours"), stranger.kubeconfig()
    with start(folder, parts=("aws", "region"), kubeconfig=theirs) as running:
        cluster = running.make_cluster(NAME)
        cluster.add_nodes("system", "m6i.large", most=2)
        with running.api(NAME) as api:
            yield Ours(cluster, api)


def wait(true: Callable[[], Any], what: str, patience: float = 60.0) -> Any:
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)
    return found


def web(name: str, **service: Any) -> tuple[Document, Document]:
    """The Deployment of a web server, and its Service."""
    labels = {"app": name}
    script = "echo hello > index.html; exec python3 -m http.server 8000 --bind $SLIPWAY_SANDBOX_POD_IP"
    container = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": labels, "ports": [{"port": 8000}], **service},
        },
    )


def test_a_wrong_token_is_refused_at_the_door(ours: Ours) -> None:
    described = ours.eks.describe()
    authority = base64.b64decode(described["certificateAuthority"]["data"]).decode()
    trust, endpoint = ssl.create_default_context(cadata=authority), described["endpoint"]
    for headers in ({}, {"Authorization": f"Bearer {ADMIN}"}):  # their own admin is nobody here
        answer = httpx.get(f"{endpoint}/api/v1/nodes", headers=headers, verify=trust)
        assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")
    assert httpx.get(f"{endpoint}/version", verify=trust).status_code == 200


def test_our_nodes_join_and_our_controllers_do_nothing(ours: Ours, stranger: Stranger) -> None:
    wait(lambda: ready_nodes(ours), "node")
    deployment, service = web("web", type="LoadBalancer")
    ours.apply(f"{APPS}/deployments", deployment).raise_for_status()
    ours.apply(f"{CORE}/services", service).raise_for_status()
    time.sleep(1.0)  # a controller of ours would have acted by now
    assert ours.list(f"{APPS}/replicasets") == []
    stranger.conduct()
    wait(lambda: available(ours, "web"), "available Deployment")


def ready_nodes(ours: Ours) -> list[Document]:
    return [
        node
        for node in ours.list("/api/v1/nodes")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    ]


def available(ours: Ours, name: str) -> bool:
    found = ours.get(f"{APPS}/deployments/{name}") or {}
    return bool((found.get("status") or {}).get("availableReplicas"))


def test_a_load_balancer_leads_to_the_pods(ours: Ours) -> None:
    def address() -> str | None:
        service = ours.get(f"{CORE}/services/web") or {}
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return ingress[0]["ip"] if ingress else None

    host = wait(address, "load balancer")
    assert host.startswith(f"{ours.eks.sandbox.network}.")
    answer = wait(lambda: get(f"http://{host}:8000/"), "answer through the load balancer")
    assert answer.text == "hello\n"


def get(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=5.0)
    except httpx.HTTPError:
        return None


def test_logs_and_the_service_proxy_reach_pods_their_server_cannot(ours: Ours) -> None:
    [pod] = ours.list(f"{CORE}/pods", labelSelector="app=web")
    assert pod["status"]["podIP"].startswith(f"{ours.eks.sandbox.network}.")
    log = f"{CORE}/pods/{pod['metadata']['name']}/log"
    assert "GET /" in wait(lambda: ours.api.get(log).raise_for_status().text, "log")
    proxied = ours.api.get(f"{CORE}/services/web:8000/proxy/")
    assert (proxied.status_code, proxied.text) == (200, "hello\n")


def test_a_service_has_a_name_pods_can_use(ours: Ours) -> None:
    hosts = ours.eks.sandbox.root / "clusters" / NAME / "hosts"
    line = next(line for line in hosts.read_text().splitlines() if " web.default.svc " in line)
    assert line.startswith(f"{ours.eks.sandbox.network}.")
    assert get(f"http://{line.split()[0]}:8000/")


def test_their_server_never_saw_a_loopback_address_of_ours(ours: Ours, stranger: Stranger) -> None:
    held = json.dumps(stranger.stored(*LOOKED_AT))
    assert f'"{ours.eks.sandbox.network}.' not in held
    assert '"198.18.' in held


def config_map(name: str) -> Document:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def test_a_watch_comes_through_the_door(ours: Ours) -> None:
    ours.apply(f"{CORE}/configmaps", config_map("w")).raise_for_status()
    query = {"watch": "true", "timeoutSeconds": "20"}
    with ours.api.stream("GET", f"{CORE}/configmaps", params=query) as events:
        seen = (json.loads(line)["object"]["metadata"]["name"] for line in events.iter_lines())
        assert any(name == "w" for name in seen)


def test_a_refusal_of_theirs_is_passed_on(ours: Ours) -> None:
    answer = ours.apply(f"{CORE}/configmaps", config_map("Not A Name"))
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")


def test_a_second_cluster_finds_the_control_plane_taken(ours: Ours) -> None:
    answer = httpx.put(f"{ours.eks.sandbox.control_url}/control-planes/second")
    assert answer.status_code == 409
    assert "already" in answer.text


def test_our_nodes_go_with_the_cluster(ours: Ours, stranger: Stranger) -> None:
    answer = httpx.delete(f"{ours.eks.sandbox.control_url}/control-planes/{NAME}", timeout=30.0)
    assert answer.status_code == 204
    wait(lambda: not stranger.stored(("", "nodes")), "control plane without nodes")


# ------------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({"server": "http://h"}, {"token": "t"}, "not an https address"),
        ({"server": "https://h"}, {"token": "t"}, "no certificate-authority"),
        ({"server": "https://h", "insecure-skip-tls-verify": True}, {"token": "t"}, "not supported"),
        ({"server": "https://h", "certificate-authority-data": "eA=="}, {}, "neither a client certificate"),
        (
            {"server": "https://h", "certificate-authority-data": "eA=="},
            {"exec": {"command": "aws"}},
            "exec is not supported",
        ),
        ({"server": "https://h", "certificate-authority": "gone.pem"}, {"token": "t"}, "cannot be read"),
        ({"server": "https://h", "certificate-authority-data": "?"}, {"token": "t"}, "no base64"),
    ],
)
def test_a_file_that_leads_nowhere_is_refused(
    tmp_path: Path, cluster: Document, user: Document, says: str
) -> None:
    file = tmp_path / "kubeconfig"
    write_kubeconfig(file, cluster, user)
    with pytest.raises(KubeconfigError, match=says):
        read(file)


def test_a_wrong_token_and_a_wrong_authority_are_told_before_anything_starts(
    stranger: Stranger, tmp_path: Path
) -> None:
    with pytest.raises(KubeconfigError, match="answers 401"):
        check(read(stranger.kubeconfig(token="wrong")))
    pem = base64.b64encode(make_authority().ca_pem).decode()
    file = tmp_path / "kubeconfig"
    write_kubeconfig(
        file,
        {"server": f"https://127.0.0.1:{stranger.port}", "certificate-authority-data": pem},
        {"token": ADMIN},
    )
    with pytest.raises(SandboxError, match="CERTIFICATE_VERIFY_FAILED"):
        up(tmp_path / "sandbox", kubeconfig=file)
    assert not (tmp_path / "sandbox").exists()


def test_their_version_is_what_a_check_finds(stranger: Stranger) -> None:
    assert check(read(stranger.kubeconfig())).startswith("v1.")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_an_address_cut_in_two_is_put_right_all_the_same(size: int) -> None:
    there = Translation("127.77")
    body = b'{"a":"127.77.1.2","b":["127.77.3.4","1"],"c":"x127.77."}'
    abroad = there.to_abroad(body)
    assert b'"127.77.' not in abroad
    stream = HomeStream(there)
    pieces = [stream.feed(abroad[n : n + size]) for n in range(0, len(abroad), size)]
    assert b"".join([*pieces, stream.end()]) == body

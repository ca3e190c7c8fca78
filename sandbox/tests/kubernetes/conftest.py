"""One API server in a process of its own, and the official client talking to it over TLS.

`SLIPWAY_CONFORMANCE_KUBECONFIG=FILE pytest tests/kubernetes` asks the control plane that file names instead: what
a probe expects of ours is then held against a real one. Probes that cannot hold there (`ours_only`) are skipped with their reason.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic

from slipway_sandbox.control_plane.credentials import read
from slipway_sandbox.faults import Faults

_TOKEN = "conformance"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_THEIRS = os.environ.get("SLIPWAY_CONFORMANCE_KUBECONFIG")
_outcomes: dict[str, str] = {}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """A raw HTTP answer."""

    status: int
    data: bytes
    headers: Message

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def ours_only(reason: str) -> pytest.MarkDecorator:
    """Marks a probe that another control plane cannot pass: it has no kubelets, no faults, other tokens, more kinds."""
    return pytest.mark.skipif(bool(_THEIRS), reason=f"ours only: {reason}")


@dataclass(frozen=True)
class Cluster:
    """A running server: its kubeconfig, its faults, and a client."""

    kubeconfig: Path
    faults: Faults
    api: client.ApiClient

    @property
    def core(self) -> Any:
        return client.CoreV1Api(self.api)

    @property
    def apps(self) -> Any:
        return client.AppsV1Api(self.api)

    @property
    def custom(self) -> Any:
        return client.CustomObjectsApi(self.api)

    @property
    def extensions(self) -> Any:
        return client.ApiextensionsV1Api(self.api)

    def dynamic(self) -> Any:
        return dynamic.DynamicClient(self.api)

    def raw(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None, **headers: str
    ) -> Answer:
        """One request as it is on the wire; headers are named with underscores (`content_type=`)."""
        credentials = read(self.kubeconfig)
        sent = {**credentials.headers(), "Content-Type": "application/json"}
        sent |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = credentials.server + path + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 -- always our server's https
        context = credentials.trust()
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as response:  # noqa: S310
                return Answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.read(), refused.headers)

    def define(self, definition: dict[str, Any]) -> None:
        """Create a CustomResourceDefinition and wait until its first version is served: a real server takes a moment."""
        made = self.raw("POST", _DEFINITIONS, definition)
        assert made.status == 201, made.data
        spec = definition["spec"]
        version, plural = spec["versions"][0]["name"], spec["names"]["plural"]
        wait_until(lambda: self.raw("GET", f"/apis/{spec['group']}/{version}/{plural}").status == 200)


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Poll for what a real control plane does in its own time; the test fails where it does not."""
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail(f"not so within {seconds} s")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if _THEIRS:
        api = config.new_client_from_config(_THEIRS)
        theirs = Cluster(Path(_THEIRS), Faults(tmp_path_factory.mktemp("none") / "faults.json"), api)
        before = _defined(theirs)
        yield theirs
        # Namespaces may stay; a definition would stand in the way of the next run.
        for name in _defined(theirs) - before:
            theirs.raw("DELETE", f"{_DEFINITIONS}/{name}")
        api.close()
        return
    folder = tmp_path_factory.mktemp("kubernetes")
    kubeconfig, faults = folder / "kubeconfig", folder / "faults.json"
    command = [
        sys.executable,
        "-m",
        "slipway_sandbox.kubernetes",
        "--token",
        _TOKEN,
        "--service-network",
        "127.37",
    ]
    command += ["--kubeconfig", str(kubeconfig), "--faults", str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(kubeconfig), "the server did not come up"
            api = config.new_client_from_config(str(kubeconfig))
            yield Cluster(kubeconfig, Faults(faults), api)
            api.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def _defined(cluster: Cluster) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.raw("GET", _DEFINITIONS).json["items"]}


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """A fresh namespace. It is left behind: the whole server goes at the end."""
    if not _THEIRS:
        name = f"test-{next(_numbers)}"
        cluster.core.create_namespace({"metadata": {"name": name}})
        return name
    made = cluster.core.create_namespace({"metadata": {"generateName": f"test-{next(_numbers)}-"}})
    accounts = f"/api/v1/namespaces/{made.metadata.name}/serviceaccounts"
    wait_until(lambda: cluster.raw("GET", f"{accounts}/default").status == 200)  # else it lets no pod in
    return str(made.metadata.name)


@pytest.fixture
def fault(cluster: Cluster) -> Iterator[Faults]:
    """The server's fault switches, all off again afterwards."""
    if _THEIRS:
        pytest.skip("a real control plane has no fault switches")
    yield cluster.faults
    cluster.faults.clear()


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Any:
    """Run kubectl: `kubectl("get", "pods", stdin=...)` gives the CompletedProcess."""
    executable = shutil.which("kubectl")
    if executable is None:
        pytest.skip("kubectl is not on PATH")

    def run(
        *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
        done = subprocess.run(
            [executable, *arguments], input=stdin, capture_output=True, text=True, timeout=30, env=environment
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done

    return run


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    """The smallest Deployment that is valid."""
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "nginx:1.27"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template} | spec,
    }


def pod(name: str = "one", *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "busybox:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": containers} | spec,
    }


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def refusal(call: Any, *arguments: Any, **options: Any) -> Any:
    """The ApiException a call raises; the test fails where it succeeds."""
    with pytest.raises(client.ApiException) as raised:
        call(*arguments, **options)
    return raised.value


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "sandbox/slipway_sandbox/kubernetes/" in report.nodeid and (
        report.when == "call" or report.outcome != "passed"
    ):
        _outcomes[report.nodeid] = report.outcome


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _outcomes:
        passed = sum(outcome == "passed" for outcome in _outcomes.values())
        skipped = sum(outcome == "skipped" for outcome in _outcomes.values())
        line = f"Kubernetes API conformance: {passed} of {len(_outcomes)} probes pass"
        terminalreporter.write_line(f"{line}, {skipped} skipped" if skipped else line)

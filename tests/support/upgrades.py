"""One model's releases that take over from each other, and runs that end in the middle of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import Time
from tasks.records.errors import Interrupted, RolloutFailed
from tasks.records.model import Model
from tasks.records.names import MODEL_LABEL, OWN_KEY_SECRET
from tasks.records.results import WarmCache
from tasks.releases.ledger import Ledger
from tasks.releases.records import ReleaseRecord
from tasks.rollout import procedure, restore
from tasks.rollout.context import RolloutContext
from tasks.rollout.procedure import release_id_of
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_model, an_environment
from tests.support.callers import Callers, calling
from tests.support.heard import Heard
from tests.support.keys import bring_keys
from tests.support.workloads import NAMESPACE, Document, wait

IMAGE = "vllm/vllm-openai:v0.32.0"
WEIGHT_BYTES = 1 << 20


class Upgrades:
    """The releases of one model, one after the other; `number` counts them."""

    def __init__(self, api: Cluster, bucket: str, s3: Any, cache: WarmCache, **model: Any) -> None:
        self.api, self.heard = api, Heard()
        self.weights = Weights.of(cache, WEIGHT_BYTES)
        self.name = f"m-{uuid.uuid4().hex[:8]}"
        self.model: dict[str, Any] = {
            "name": self.name,
            "engine": {"max_model_len": 1024, "image": IMAGE, "drain": "1s", "shutdown_timeout": "10s"},
            "resources": {"cpu": "100m", "memory": "1Gi"},
            **model,
        }
        environment = an_environment(
            cluster={"gpu": {"label_value": "four"}},
            gateway={"drain": "1s"},
            deadlines={"pod_start": "30s", "gateway": "20s"},
        )
        self.ledger = Ledger(s3, bucket, environment.name, self.name)
        self.shown: dict[str, list[dict[str, Any]]] = {}
        self.context = RolloutContext(ROOT, api, environment, self.ledger, self.heard, show=self.show)
        self.number = 1
        bring_keys(api, NAMESPACE)

    def show(self, key: str, rows: Any, title: str) -> None:
        self.shown[key] = [dict(row) for row in rows]

    def said(self, words: str) -> bool:
        return any(words in line for line in self.heard.lines)

    @property
    def workload(self) -> str:
        return f"vllm-{self.name}"

    def a_release(self, **over: Any) -> Model:
        """The next release: other flags, and `over`."""
        self.number += 1
        engine = self.model["engine"] | {"max_num_seqs": 100 + self.number}
        return a_model(**{**self.model, "engine": engine, **over})

    def start(self, model: Model, context: RolloutContext | None = None) -> ReleaseRecord:
        """Roll out, and leave what comes of it to the test."""
        return procedure.roll_out(context or self.context, model, self.weights)

    def roll_out(self, **over: Any) -> ReleaseRecord:
        """The next release, rolled out and proven."""
        record = self.start(self.a_release(**over))
        self.ledger.proven(record)
        assert record.rollout
        return record

    def fails(self, match: str, **over: Any) -> ReleaseRecord:
        """A release that does not pass its gate, undone as the flow does it; its record."""
        model = self.a_release(**over)
        with pytest.raises(RolloutFailed, match=match):
            self.start(model)
        rolling = self.ledger.serving().rolling
        assert rolling
        restore.undo(self.context, model)
        return self.ledger.record(rolling)

    def stops_at_first_write(self, model: Model) -> None:
        """A run that ends when it would change the cluster for the first time."""
        refusing: Any = RefusesWrites(self.api)
        with pytest.raises(FirstWrite):
            self.start(model, replace(self.context, cluster=refusing))

    def dies(self, model: Model, when: Callable[[], bool]) -> None:
        """A run that ends, as by kill -9, in its first sleep once `when` holds."""

        def sleep(seconds: float) -> None:
            if when():
                raise Interrupted("dead")
            time.sleep(seconds)

        with pytest.raises(Interrupted):
            self.start(model, replace(self.context, time=Time(sleep=sleep)))

    @property
    def serving(self) -> str | None:
        return self.ledger.serving().serving

    def calling(self) -> AbstractContextManager[Callers]:
        """Load on the endpoint for as long as the block lasts."""
        assert self.serving
        key = objects.read_key(self.api, NAMESPACE, OWN_KEY_SECRET)
        return calling(self.ledger.record(self.serving).endpoint.base_url, key, self.name)

    def deployment(self) -> Document:
        found = self.context.workload(self.workload)
        assert found
        return found

    def green(self) -> Document | None:
        return self.context.workload(f"green-{self.workload}")

    def applied(self) -> str | None:
        """The release that the model's own Deployment has."""
        return release_id_of(self.deployment())

    def selector(self) -> str:
        """The model label that the Service selects."""
        service = self.api.get("v1", "Service", self.workload, NAMESPACE)
        return str(objects.spec(service)["selector"][MODEL_LABEL])

    def end(self) -> None:
        for name in (self.workload, f"green-{self.workload}"):
            self.api.delete("apps/v1", "Deployment", name, NAMESPACE, propagation="Foreground")
        wait(lambda: not self.context.workload(self.workload) and not self.green())


class FirstWrite(Exception):
    """Something would have been written."""


class RefusesWrites:
    """A cluster that can only be read."""

    def __init__(self, api: Cluster) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        if name in ("apply", "patch", "delete"):
            raise FirstWrite
        return getattr(self._api, name)


def all_answered(callers: Callers) -> None:
    assert not callers.failures, "\n".join(callers.failures[:5])
    assert len(callers.answers) > 20

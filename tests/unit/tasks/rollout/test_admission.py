"""Whether a release's pods may be made is asked before what serves is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.cloud.kubernetes import KubernetesRefused, Object
from tasks.cloud.waiting import Time
from tasks.records.errors import RolloutFailed
from tasks.rollout.admission import check, pod_of
from tasks.rollout.context import RolloutContext
from tests.support.builders import an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard
from tests.support.ledgers import a_ledger

DEPLOYMENT: Object = {
    "metadata": {"name": "vllm-x", "namespace": "llm"},
    "spec": {"template": {"metadata": {"labels": {"app": "vllm"}}, "spec": {"containers": []}}},
}


class Admission:
    """Answers each trial with the next of `answers` (status, words); 0 lets it in."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers, self.tried = list(answers), 0

    def try_create(self, document: Object) -> None:
        assert document["kind"] == "Pod"
        self.tried += 1
        status, said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status:
            raise KubernetesRefused("create", "Pod", "vllm-x-", status, said)


def ask(admission: Admission, clock: Clock) -> None:
    cluster: Any = admission
    environment = an_environment(deadlines={"pod_start": 10})
    time = Time(clock, clock.sleep)
    check(RolloutContext(Path(), cluster, environment, a_ledger(), Heard(), time=time), DEPLOYMENT)


def test_the_pod_is_the_one_its_replica_set_would_make() -> None:
    pod = pod_of(DEPLOYMENT)
    assert pod["metadata"] == {"labels": {"app": "vllm"}, "generateName": "vllm-x-", "namespace": "llm"}


@pytest.mark.parametrize(
    "answers", [[(0, "")], [(500, "boo"), (0, "")], [(403, "exceeded quota: gpus, used: 1")]]
)
def test_a_pod_that_may_be_made_is_no_obstacle(answers: list[tuple[int, str]], clock: Clock) -> None:
    """A quota counts: what serves gives its share back."""
    ask(Admission(*answers), clock)


def test_a_pod_that_is_forbidden_is_told_at_once(clock: Clock) -> None:
    admission = Admission((403, 'pods "vllm-x" is forbidden: violates PodSecurity "restricted:latest"'))
    with pytest.raises(RolloutFailed, match="Pod Security level forbids it: nothing was moved"):
        ask(admission, clock)
    assert admission.tried == 1


def test_a_server_that_stays_broken_is_told_after_the_start_of_a_pod(clock: Clock) -> None:
    admission = Admission((500, "etcd is away"))
    with pytest.raises(RolloutFailed, match="no pod can be made: nothing was moved") as caught:
        ask(admission, clock)
    assert "etcd is away" in caught.value.evidence
    assert admission.tried > 5

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from slipway_sandbox.terraform.provider.session import Session, WaitFailed, explain, unless_gone


def denied(code: str) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 403, "RequestId": "r-1"},
    }
    return ClientError(response, "CreateCluster")  # type: ignore[arg-type]


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def session(slept: list[float]) -> Session:
    return Session({"region": "eu-west-1"}, sleep=slept.append)


def states(*names: str | None) -> Iterator[str | None]:
    return iter(names)


def test_a_wait_ends_when_the_state_is_the_wanted_one(session: Session, slept: list[float]) -> None:
    seen = states("CREATING", "CREATING", "ACTIVE")
    session.wait("a cluster", lambda: next(seen), ["ACTIVE"], within=60)
    assert len(slept) == 2


def test_a_wait_for_the_end_takes_gone_for_it(session: Session) -> None:
    seen = states("DELETING", None)
    session.wait("a cluster", lambda: next(seen), [None], within=60)


def test_a_failed_state_ends_the_wait(session: Session) -> None:
    with pytest.raises(WaitFailed, match="unexpected state 'CREATE_FAILED'"):
        session.wait("a cluster", lambda: "CREATE_FAILED", ["ACTIVE"], within=60)


def test_a_wait_has_a_deadline(session: Session) -> None:
    with pytest.raises(WaitFailed, match="timeout after 0 s in state 'CREATING'"):
        session.wait("a cluster", lambda: "CREATING", ["ACTIVE"], within=0)


def test_terraform_can_interrupt_a_wait(session: Session) -> None:
    session.stopped.set()
    with pytest.raises(WaitFailed, match="interrupted"):
        session.wait("a cluster", lambda: "CREATING", ["ACTIVE"], within=60)


def test_a_region_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ValueError, match="no AWS region"):
        Session({})


def test_what_is_gone_is_none() -> None:
    def call() -> str:
        raise denied("ResourceNotFoundException")

    assert unless_gone(call) is None


def test_another_error_passes() -> None:
    def call() -> str:
        raise denied("AccessDeniedException")

    with pytest.raises(ClientError):
        unless_gone(call)


def test_a_deletion_waits_for_what_depends_on_it(session: Session, slept: list[float]) -> None:
    answers = ["DependencyViolation", "DependencyViolation", "InvalidSubnetID.NotFound"]

    def call() -> None:
        raise denied(answers.pop(0))

    session.delete(call)
    assert len(slept) == 2


def test_a_deletion_does_not_wait_for_ever(session: Session) -> None:
    def call() -> None:
        raise denied("DependencyViolation")

    with pytest.raises(ClientError, match="DependencyViolation"):
        session.delete(call, within=0)


def test_an_error_names_operation_status_and_code() -> None:
    assert explain(denied("AccessDenied")) == (
        "operation error CreateCluster, https response error StatusCode: 403, RequestID: r-1, api error AccessDenied: no"
    )

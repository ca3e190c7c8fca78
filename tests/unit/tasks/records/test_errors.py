from __future__ import annotations

import inspect
import pickle
import re

import pytest

from tasks.cloud.kubernetes import KubernetesRefused
from tasks.records import errors
from tasks.records.errors import InputError, Interrupted, PreflightFailed, SlipwayError, ValidationFailed

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SlipwayError)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_pickle_that_prefect_puts_it_through(kind: type[SlipwayError]) -> None:
    error = kind("no such thing", evidence=["line 1", "line 2"], next_command="ls")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(back) is kind
    assert (back.cause, back.evidence, back.next_command) == ("no such thing", ("line 1", "line 2"), "ls")
    assert str(back) == str(error)


def test_the_api_servers_status_survives_the_pickle_too() -> None:
    error = KubernetesRefused("read", "Pod", "a", 403, "forbidden")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert back.status == 403


def test_an_error_reads_as_cause_evidence_and_next_command() -> None:
    error = SlipwayError("the image cannot be pulled", evidence=["event 1"], next_command="kubectl get pods")
    assert str(error) == "the image cannot be pulled\n  | event 1\n  next: kubectl get pods"


def test_an_error_without_evidence_is_one_sentence() -> None:
    assert str(SlipwayError("nothing is there")) == "nothing is there"


def test_the_tree_in_the_docstring_is_the_tree_there_is() -> None:
    written = re.findall(r"^[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(set(written) - {"The"}) == sorted(kind.__name__ for kind in TREE)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(InputError, 2), (PreflightFailed, 3), (ValidationFailed, 4), (Interrupted, 130), (SlipwayError, 1)],
)
def test_what_ci_reads_from_the_exit_code(kind: type[SlipwayError], code: int) -> None:
    assert kind("x").exit_code == code

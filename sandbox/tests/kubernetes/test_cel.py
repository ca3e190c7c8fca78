"""CEL in definitions: the expressions by themselves, and what they refuse through the API."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slipway_sandbox.kubernetes.cel import CelError, CelSyntaxError, parse
from tests.kubernetes.conftest import Answer, Cluster

SELF: dict[str, Any] = {
    "min": 1,
    "max": 3,
    "name": "abc",
    "items": ["a", "b"],
    "labels": {"team": "red"},
    "namespace": "n",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.min <= self.max && self.max > 1 && self.name >= 'abc'", True),
        ("has(self.min) && !has(self.nope)", True),
        ("has(self.labels.team) ? self.labels.team : 'none'", "red"),
        ("self.items.all(i, i.size() == 1)", True),
        ("self.items.all(i, i == 'b' && i.nope == 1)", False),
        ("has(self.__namespace__)", True),
        ("true || self.nope == 1", True),
        ("self.nope == 1 || true", True),
        ("false && self.nope == 1", False),
        ("'1' == 1 || null == false", False),
        ("size(self.items) == 2 && size(self) > 0", True),
        ("self == self && self != oldSelf", True),
    ],
)
def test_an_expression_has_its_value(text: str, value: Any) -> None:
    assert parse(text)({"self": SELF, "oldSelf": None}) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("self.nope", "no such key: nope"),
        ("self.min < self.name", "no such overload"),
        ("self.min && true", "no such overload"),
        ("self.nope == 1 && true", "no such key: nope"),
        ("self.min.all(x, true)", "no such overload"),
        ("self.min.size() == 1", "no such overload"),
        ("self.items.all(i, i == 'a' || i.nope == 1)", "no such overload"),
    ],
)
def test_an_expression_without_a_value_says_why(text: str, error: str) -> None:
    with pytest.raises(CelError, match=error):
        parse(text)({"self": SELF, "oldSelf": None})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "self.",
        "self.min <",
        "(1",
        "other == 1",
        "self.frobnicate()",
        "frobnicate(1)",
        "1 2",
        "a ? b",
        "'open",
        "ip(self.name).family() == 4",
        "self.min + 1 == 2",
    ],
)
def test_an_expression_that_is_broken_or_uses_more_is_refused(text: str) -> None:
    with pytest.raises(CelSyntaxError):
        parse(text)


RANGE = {
    "type": "object",
    "properties": {
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "name": {
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}],
        },
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.low) || self.low <= self.high",
            "message": "low is above high",
        }
    ],
}


def define(cluster: Cluster, plural: str, spec: dict[str, Any]) -> Answer:
    kind = plural.capitalize()
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"kind": kind, "plural": plural, "singular": plural}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.cel.test"},
        "spec": {"group": "cel.test", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    return cluster.raw("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)


@pytest.fixture(scope="module")
def ranges(cluster: Cluster) -> str:
    assert define(cluster, "ranges", RANGE).status == 201
    path = "/apis/cel.test/v1/namespaces/default/ranges"
    deadline = time.monotonic() + 10
    while cluster.raw("GET", path).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path


def test_a_rule_that_does_not_hold_refuses_the_object(cluster: Cluster, ranges: str) -> None:
    body = {
        "apiVersion": "cel.test/v1",
        "kind": "Ranges",
        "metadata": {"name": "wrong"},
        "spec": {"low": 3, "high": 1},
    }
    answer = cluster.raw("POST", ranges, body)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    (cause,) = answer.json["details"]["causes"]
    assert cause["field"] == "spec"
    assert cause["message"].endswith("low is above high")  # 1.36 no longer names the value's type


def test_an_error_of_a_rule_refuses_the_object_too(cluster: Cluster, ranges: str) -> None:
    body = {"apiVersion": "cel.test/v1", "kind": "Ranges", "metadata": {"name": "half"}, "spec": {"low": 3}}
    answer = cluster.raw("POST", ranges, body)
    assert answer.status == 422
    assert "no such key: high evaluating rule: low is above high" in answer.json["message"]


def test_a_transition_rule_holds_updates_and_not_creations(cluster: Cluster, ranges: str) -> None:
    spec = {"low": 1, "high": 2, "name": "n"}
    made = {"apiVersion": "cel.test/v1", "kind": "Ranges", "metadata": {"name": "kept"}, "spec": spec}
    assert cluster.raw("POST", ranges, made).status == 201
    merge: Any = {"content_type": "application/merge-patch+json"}
    renamed = cluster.raw("PATCH", f"{ranges}/kept", {"spec": {"name": "m"}}, **merge)
    assert renamed.status == 422 and "name is immutable" in renamed.json["message"]
    assert cluster.raw("PATCH", f"{ranges}/kept", {"spec": {"high": 9}}, **merge).status == 200


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.low >", "Syntax error"),
        ("other > 1", "undeclared reference to 'other'"),
    ],
)
def test_a_definition_with_a_rule_that_is_none_is_refused(cluster: Cluster, rule: str, why: str) -> None:
    spec = {
        "type": "object",
        "properties": {"low": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": rule}],
    }
    answer = define(cluster, "broken", spec)
    assert answer.status == 422
    assert why in answer.json["message"]
    assert "compilation failed" in answer.json["message"]

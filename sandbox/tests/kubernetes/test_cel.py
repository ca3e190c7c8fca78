"""CEL in definitions: the expressions by themselves, and what they refuse through the API."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slipway_sandbox.kubernetes.cel import CelSyntaxError, Unsupported, parse
from slipway_sandbox.kubernetes.cel_functions import CelError
from tests.kubernetes.conftest import Answer, Cluster

SELF: dict[str, Any] = {
    "min": 1,
    "max": 3,
    "name": "abc",
    "items": ["a", "b"],
    "pools": [{"name": "x", "size": 1}, {"name": "y", "size": 2}],
    "labels": {"team": "red"},
    "with-dash": 1,
    "memory": "2Gi",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.min <= self.max", True),
        ("self.min + 2 * self.max == 7 && -self.min == -1", True),
        ("7 / 2 == 3 && -7 / 2 == -3 && -7 % 3 == -1", True),
        ("1.5 + 1.5 == 3.0 && 1 == 1.0 && 2 > 1.5", True),
        ("has(self.min) && !has(self.nope)", True),
        ("has(self.labels.team) ? self.labels.team : 'none'", "red"),
        ("self.items.all(i, i.size() == 1)", True),
        ("self.pools.exists(p, p.name == 'y' && p.size > 1)", True),
        ("self.pools.exists_one(p, p.size > 0)", False),
        ("self.pools.map(p, p.name)", ["x", "y"]),
        ("self.pools.filter(p, p.size > 1).map(p, p.name).join(',')", "y"),
        ("self.pools.map(p, p.size).sum() == 3 && [3, 1].min() == 1", True),
        ("'a' in self.items && 'team' in self.labels && !('c' in self.items)", True),
        ("self.labels['team'] + \"!\"", "red!"),
        ("self.items[1]", "b"),
        ("self.name.startsWith('a') && self.name.endsWith('c') && self.name.contains('b')", True),
        ("self.name.matches('^[a-c]+$') && !matches(self.name, '^x')", True),
        ("self.__dash__ == 1 || true", True),
        ("self.with__dash__dash == 1", True),
        ("true || self.nope == 1", True),
        ("self.nope == 1 || true", True),
        ("false && self.nope == 1", False),
        ("'1' == 1 || null == false", False),
        ("size(self.items) == 2 && self.name.upperAscii() == 'ABC'", True),
        ("quantity(self.memory).isLessThan(quantity('3Gi')) && isQuantity('5m') && !isQuantity('x')", True),
        ("int('5') == 5 && string(5) == '5' && type(5) == type(6)", True),
        ("'a,b'.split(',') == ['a', 'b'] && 'abc'.substring(1) == 'bc' && 'abc'.indexOf('c') == 2", True),
        ("{'a': 1}.a == 1", True),
        (r"'it\'s' == \"it's\" && r'\d' == '\\d'".replace('\\"', '"'), True),
    ],
)
def test_an_expression_has_its_value(text: str, value: Any) -> None:
    assert parse(text)({"self": SELF, "oldSelf": None}) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("self.nope", "no such key: nope"),
        ("self.items[5]", "index out of bounds: 5"),
        ("1 / 0 == 1", "division by zero"),
        ("self.min < self.name", "no such overload"),
        ("self.min && true", "no such overload"),
        ("self.nope == 1 && true", "no such key: nope"),
        ("self.name.matches('(')", "error parsing regexp"),
        ("self.min.all(x, true)", "no such overload"),
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
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(CelSyntaxError):
        parse(text)


def test_a_deep_expression_is_refused_rather_than_followed() -> None:
    for text in ("(" * 1000 + "1" + ")" * 1000, "!" * 1000 + "true", "-" * 1000 + "1"):
        with pytest.raises(CelSyntaxError, match="recursion limit"):
            parse(text)


def test_what_kubernetes_knows_and_this_does_not_is_told_apart() -> None:
    with pytest.raises(Unsupported):
        parse("ip(self.name).family() == 4")


RANGE = {
    "type": "object",
    "properties": {
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "name": {
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}],
        },
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "number": {"type": "integer"}},
                "x-kubernetes-validations": [
                    {
                        "rule": "self.number >= oldSelf.number",
                        "messageExpression": "'port ' + self.name + ' may only rise'",
                    }
                ],
            },
        },
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.low) || self.low <= self.high",
            "message": "low is above high",
            "fieldPath": ".low",
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
    assert cause["field"] == "spec.low"
    assert cause["message"].endswith("low is above high")  # 1.36 no longer names the value's type


def test_an_error_of_a_rule_refuses_the_object_too(cluster: Cluster, ranges: str) -> None:
    body = {"apiVersion": "cel.test/v1", "kind": "Ranges", "metadata": {"name": "half"}, "spec": {"low": 3}}
    answer = cluster.raw("POST", ranges, body)
    assert answer.status == 422
    assert "no such key: high evaluating rule: low is above high" in answer.json["message"]


def test_a_transition_rule_holds_updates_and_not_creations(cluster: Cluster, ranges: str) -> None:
    ports = [{"name": "a", "number": 5}]
    spec = {"low": 1, "high": 2, "name": "n", "ports": ports}
    made = {"apiVersion": "cel.test/v1", "kind": "Ranges", "metadata": {"name": "kept"}, "spec": spec}
    assert cluster.raw("POST", ranges, made).status == 201
    merge: Any = {"content_type": "application/merge-patch+json"}
    renamed = cluster.raw("PATCH", f"{ranges}/kept", {"spec": {"name": "m"}}, **merge)
    assert renamed.status == 422 and "name is immutable" in renamed.json["message"]
    lower = {"spec": {"ports": [{"name": "b", "number": 1}, {"name": "a", "number": 4}]}}
    fallen = cluster.raw("PATCH", f"{ranges}/kept", lower, **merge)
    assert fallen.status == 422 and "spec.ports[1]" in fallen.json["message"]
    assert "port a may only rise" in fallen.json["message"]
    assert cluster.raw("PATCH", f"{ranges}/kept", {"spec": {"high": 9}}, **merge).status == 200


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.nope > 1", "undefined field 'nope'"),
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

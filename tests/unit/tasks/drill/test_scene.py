"""What of an object is not as a release applied it."""

from __future__ import annotations

from tasks.drill.scene import differences


def test_only_what_a_release_applied_and_is_otherwise_is_a_difference() -> None:
    applied = {"spec": {"a": 1, "b": [{"c": 2}], "d": {"e": 3}}}
    live = {"spec": {"a": 1, "b": [{"c": 4, "default": 5}], "d": None}, "status": {}}
    assert differences(applied, live) == [
        "spec.b[0].c is 4, and the release applied 2",
        "spec.d is not there",
    ]
    assert differences(applied, applied) == []

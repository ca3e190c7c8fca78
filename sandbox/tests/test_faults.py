"""Faults by name: which exist, when they strike, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_sandbox.faults import Faults, UnknownFault


def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFault, match="hub-428"):
        Faults(tmp_path / "faults.json").set("hub-428")


def test_a_count_is_used_up_by_its_target_only(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.json")
    faults.set("s3-denied", target="Put*", count=2)
    assert faults.hit("s3-denied", "GetObject") is None
    assert [bool(faults.hit("s3-denied", "PutObject")) for _ in range(3)] == [True, True, False]
    assert faults.active() == []


def test_a_probability_is_asked_of_chance(tmp_path: Path) -> None:
    rolls = iter([0.4, 0.6])
    faults = Faults(tmp_path / "faults.json", lambda: next(rolls))
    faults.set("hub-5xx", probability=0.5)
    assert faults.hit("hub-5xx")
    assert not faults.hit("hub-5xx")

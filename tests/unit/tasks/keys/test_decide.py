from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tasks.keys.decide import LARGEST, add, current, revoke, rotate, shown, table, with_own
from tasks.records.errors import InputError, UnknownName
from tasks.records.keys import OWN, ApiKey, KeyRing

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_key(name: str = "team", value: str = "sk-1", **more: object) -> ApiKey:
    return ApiKey.model_validate({"name": name, "value": value, "created": NOON, **more})


def a_ring(*keys: ApiKey) -> KeyRing:
    return KeyRing(keys=keys or (a_key(),))


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(InputError, match="there is a key team already"):
        add(a_ring(), a_key(value="sk-2"))


def test_slipways_own_key_is_made_once() -> None:
    once = with_own(KeyRing(), "sk-1", NOON)
    assert with_own(once, "sk-2", NOON) == once
    assert current(once, OWN).value == "sk-1"


def test_a_rotated_key_opens_by_both_values_until_the_overlap_has_passed() -> None:
    ring = rotate(a_ring(a_key(models=("a",))), "team", "sk-2", NOON, HOUR)
    assert current(ring, "team").value == "sk-2"
    during, after = table(ring, NOON + HOUR / 2), table(ring, NOON + HOUR)
    assert set(during) == {digest("sk-1"), digest("sk-2")}
    assert set(after) == {digest("sk-2")}
    assert during[digest("sk-1")]["expires"] == int((NOON + HOUR).timestamp() * 1000)
    assert during[digest("sk-2")] == {"name": "team", "models": {"a": True}, "expires": 0}


def test_a_rotation_without_overlap_leaves_the_new_value_alone() -> None:
    assert set(table(rotate(a_ring(), "team", "sk-2", NOON, timedelta()), NOON)) == {digest("sk-2")}


def test_a_rotated_key_is_valid_for_as_long_as_the_old_one_was() -> None:
    ring = rotate(a_ring(a_key(expires=NOON + 3 * HOUR)), "team", "sk-2", NOON + 2 * HOUR, 5 * HOUR)
    old, new = ring.keys
    assert old.expires == NOON + 3 * HOUR, "an overlap makes no key last longer"
    assert new.expires == NOON + 5 * HOUR


def test_a_third_value_drops_those_whose_overlap_has_passed() -> None:
    twice = rotate(rotate(a_ring(), "team", "sk-2", NOON, HOUR), "team", "sk-3", NOON + 2 * HOUR, HOUR)
    assert [key.value for key in twice.keys] == ["sk-2", "sk-3"]


def test_a_revoked_key_goes_with_all_its_values_and_leaves_the_others() -> None:
    ring = rotate(a_ring(a_key(), a_key("other", "sk-9")), "team", "sk-2", NOON, HOUR)
    assert [key.name for key in revoke(ring, "team").keys] == ["other"]


def test_the_key_that_gate_and_load_ask_with_is_not_revoked() -> None:
    with pytest.raises(InputError, match="readiness gate and load validation"):
        revoke(with_own(KeyRing(), "sk-1", NOON), OWN)


@pytest.mark.parametrize("name", ["tem", "other"])
def test_a_name_nobody_has_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        revoke(a_ring(), name)
    assert caught.value.evidence == ("there are: team",)
    with pytest.raises(UnknownName, match=f"there is no key '{name}'"):
        rotate(a_ring(), name, "sk-2", NOON, HOUR)


def test_an_expired_key_is_shown_as_such_and_is_not_in_the_table() -> None:
    key = a_key(expires=NOON)
    assert shown(key, NOON).state == "expired"
    assert shown(key, NOON - HOUR).state == "valid"
    assert table(a_ring(key), NOON) == {}


def test_what_is_shown_or_printed_of_a_key_has_no_value() -> None:
    key = a_key(value="sk-secret")
    assert "sk-secret" not in repr(key) + repr(a_ring(key)) + shown(key, NOON).model_dump_json()


def test_more_keys_than_a_secret_holds_are_refused() -> None:
    one = len(a_ring().model_dump_json())
    ring = KeyRing(keys=tuple(a_key(f"k{i}") for i in range(LARGEST // one)))
    with pytest.raises(InputError, match=r"too many keys: .* 65,536"):
        for i in range(LARGEST // one):
            ring = add(ring, a_key(f"more-{i}"))


def limit_of(ring: KeyRing, value: str, replicas: int) -> int | None:
    return table(ring, NOON, replicas)[digest(value)].get("perMinute")


@pytest.mark.parametrize(
    ("limit", "replicas", "each"), [(None, 1, None), (60, 1, 60), (60, 3, 20), (1, 3, 1)]
)
def test_each_pod_of_the_gateway_gets_its_part_of_a_limit(
    limit: int | None, replicas: int, each: int | None
) -> None:
    assert limit_of(a_ring(a_key(requests_per_minute=limit)), "sk-1", replicas) == each


def test_a_rotated_key_keeps_its_limit_and_both_values_have_it() -> None:
    ring = rotate(a_ring(a_key(requests_per_minute=60)), "team", "sk-2", NOON, HOUR)
    assert [limit_of(ring, value, 1) for value in ("sk-1", "sk-2")] == [60, 60]
    assert shown(current(ring, "team"), NOON).requests_per_minute == 60


def test_a_limit_of_no_request_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        a_key(requests_per_minute=0)

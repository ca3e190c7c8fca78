from __future__ import annotations

import pytest

from slipway_sandbox.kubernetes import protobuf
from slipway_sandbox.kubernetes.errors import ApiStatus


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field; lengths here stay below 128."""
    return bytes([number << 3 | 2, len(data)]) + data


def _envelope(kind: str, raw: bytes, version: str = "v1") -> bytes:
    type_meta = _field(1, version.encode()) + _field(2, kind.encode())
    return b"k8s\x00" + _field(1, type_meta) + _field(2, raw)


def test_a_secret_is_decoded() -> None:
    metadata = _field(1, b"sh.helm") + _field(11, _field(1, b"owner") + _field(2, b"helm"))
    raw = (
        _field(1, metadata)
        + _field(2, _field(1, b"release") + _field(2, b"\x00\xff"))
        + _field(3, b"helm.sh/v1")
    )
    assert protobuf.decode(_envelope("Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sh.helm", "labels": {"owner": "helm"}},
        "data": {"release": "AP8="},
        "type": "helm.sh/v1",
    }


def test_delete_options_keep_a_grace_of_zero() -> None:
    decoded = protobuf.decode(_envelope("DeleteOptions", bytes([1 << 3, 0]) + _field(4, b"Foreground")))
    assert (decoded["gracePeriodSeconds"], decoded["propagationPolicy"]) == (0, "Foreground")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", 400),
        (b"k8s\x00\x0a\xff", 400),
        (_envelope("Pod", b""), 415),
        (_envelope("Secret", _field(9, b"new")), 415),
        (_envelope("Secret", _field(1, b"\x0a\x7f")), 400),
    ],
)
def test_what_cannot_be_decoded_is_refused(raw: bytes, code: int) -> None:
    with pytest.raises(ApiStatus) as raised:
        protobuf.decode(raw)
    assert raised.value.code == code

from __future__ import annotations

import pytest

from tasks.cloud.image_pull import BESIDE_SECONDS, MIB, start_seconds
from tasks.cloud.registry import Image
from tests.support.builders import an_environment

RATE, POD_START = 10, 900.0


@pytest.mark.parametrize(
    ("pull", "allowed"),
    [
        (0, POD_START),
        (POD_START - BESIDE_SECONDS, POD_START),
        (POD_START, POD_START + BESIDE_SECONDS),
        (3600, 3600 + BESIDE_SECONDS),
    ],
)
def test_a_pod_may_take_as_long_as_its_images_pull(pull: float, allowed: float) -> None:
    environment = an_environment(deadlines={"pod_start": POD_START, "image_pull_mib_s": RATE})
    assert start_seconds(Image(int(pull * RATE * MIB)), environment) == allowed


def test_an_image_of_unknown_size_has_the_deadline() -> None:
    assert start_seconds(Image(unknown="it asks for credentials"), an_environment()) == POD_START

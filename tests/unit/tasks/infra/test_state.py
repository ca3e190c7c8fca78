from __future__ import annotations

import uuid

import pytest

from tasks.infra.state import backend
from tasks.records.environment import Environment
from tests.support.builders import an_environment


@pytest.fixture
def where() -> Environment:
    unique = uuid.uuid4().hex[:8]
    return an_environment(name=f"e{unique}", storage={"state_bucket": f"states-{unique}"})


def test_each_stack_has_a_state_of_its_own(where: Environment) -> None:
    assert backend(where, "storage")["key"] != backend(where, "cluster")["key"]
    assert where.name in backend(where, "storage")["key"]

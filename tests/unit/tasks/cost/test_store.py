from __future__ import annotations

from datetime import UTC, datetime

from tasks.cloud.instances import Instance
from tasks.cost import store
from tasks.cost.meter import Meter
from tests.support.ledgers import MemoryS3

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_a_meter_is_read_as_it_was_written_and_each_environment_has_its_own() -> None:
    s3 = MemoryS3()
    meter = Meter().after([Instance("i-1", "g5.2xlarge", NOW, True, False, None)], NOW)
    store.write(s3, "models", "staging", meter)
    assert store.read(s3, "models", "staging") == meter
    assert store.read(s3, "models", "production") == Meter()
    assert [*s3.objects] == ["costs/staging.json"]

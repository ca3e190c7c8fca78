"""What is proven in one environment comes into the next by S3 alone: the hub is down all the while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from slipway_sandbox.testing import Faults

from tasks.releases.ledger import Ledger
from tests.support.commands import BUCKET, ENVIRONMENT, Region

FAILED = 1
NEXT, NEXT_BUCKET = "next", "slipway-next-models"
PROMOTE = ("promote", "tiny-llama", "-e", NEXT, "--yes")


@pytest.fixture(scope="module")
def next_environment(deployed: None, region: Region) -> Iterator[str]:
    """An environment of its own, which only takes what is proven in the first."""
    document = yaml.safe_load((region.home / "environments" / f"{ENVIRONMENT}.yaml").read_text())
    document |= {"name": NEXT, "namespace": "llm-next", "promote_from": ENVIRONMENT}
    document["cluster"] |= {"name": "slipway-next", "vpc_cidr": "10.1.0.0/16"}
    document["storage"] |= {"model_bucket": NEXT_BUCKET, "state_bucket": "slipway-next-state"}
    document["gateway"]["port"] += 1  # both clusters of a sandbox answer on this machine
    (region.home / "environments" / f"{NEXT}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    yield NEXT
    region.run("teardown", "-e", NEXT, "--models", "delete", "--volumes", "delete").succeeded()


def test_a_promotion_does_not_ask_the_hub(next_environment: str, region: Region, faults: Faults) -> None:
    faults.set("hub-5xx")
    done = region.run(*PROMOTE).succeeded()
    assert "the hub is not asked" in done.output
    proven = region.serving().serving
    s3 = region.client("s3")
    manifests = [
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for bucket in (BUCKET, NEXT_BUCKET)
        for key in [_manifest_key(region, bucket)]
    ]
    assert proven
    assert manifests[0] == manifests[1]


def _manifest_key(region: Region, bucket: str) -> str:
    """Of what is proven in the first environment; other tests may have staged other commits there."""
    s3, proven = region.client("s3"), region.serving().serving
    assert proven
    commit = Ledger(s3, BUCKET, ENVIRONMENT, "tiny-llama").record(proven).release.commit
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"slipway/tiny-llama/{commit}/")["Contents"]
    [key] = [item["Key"] for item in listed if item["Key"].endswith("/.slipway/manifest.json")]
    return str(key)


def test_what_lost_a_file_since_it_was_proven_is_not_promoted(next_environment: str, region: Region) -> None:
    s3 = region.client("s3")
    key = _manifest_key(region, BUCKET).replace(".slipway/manifest.json", "config.json")
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=key)
    try:
        region.run(*PROMOTE).refused(FAILED, "error: .* is not whole", "missing: config.json")
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)

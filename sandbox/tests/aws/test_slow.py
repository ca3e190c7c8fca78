"""The fault aws-slow: an operation waits for as long as the fault says, or until it is cleared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.aws.conftest import Aws, until

HOLD = 60.0


def begun(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_an_object_is_stored_once_the_fault_is_cleared(aws: Aws, bucket: str) -> None:
    s3 = aws.client("s3")
    aws.faults.set("aws-slow", target=f"s3 PutObject {bucket}/held/*", value=HOLD)
    s3.put_object(Bucket=bucket, Key="free", Body=b"")  # another key is not held
    writing = begun(lambda: s3.put_object(Bucket=bucket, Key="held/x", Body=b"x"))
    time.sleep(0.3)
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["free"]
    aws.faults.clear()
    writing.join(10)
    assert s3.get_object(Bucket=bucket, Key="held/x")["Body"].read() == b"x"


def test_an_operation_of_eks_waits_its_time(aws: Aws, cluster: str) -> None:
    eks = aws.client("eks")
    aws.faults.set("aws-slow", target="eks DescribeCluster", value=0.3, count=1)
    began = time.monotonic()
    eks.list_clusters()
    assert time.monotonic() - began < 0.3
    eks.describe_cluster(name=cluster)
    assert time.monotonic() - began >= 0.3
    until(lambda: aws.faults.active() == [])


@pytest.mark.parametrize("count", [None, 1])
def test_a_fault_with_a_count_lasts_its_time_and_one_without_until_it_is_cleared(
    aws: Aws, count: int | None
) -> None:
    aws.faults.set("aws-slow", value=HOLD, count=count)
    fault = aws.faults.hit("aws-slow", "s3 GetObject b/k")
    assert fault
    assert aws.faults.lasts(fault)
    aws.faults.clear()
    assert aws.faults.lasts(fault) is (count is not None)

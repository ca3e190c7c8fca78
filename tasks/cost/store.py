"""The meter of an environment, kept in its model bucket as costs/{environment}.json."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import aws_errors, error_code
from tasks.cost.meter import Meter


def read(s3: Any, bucket: str, environment: str) -> Meter:
    """An empty one where nobody has looked yet. Raises CloudError, ValidationError."""
    with aws_errors("reading the meter of instances"):
        try:
            body = s3.get_object(Bucket=bucket, Key=_key(environment))["Body"].read()
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                return Meter()
            raise
    return Meter.model_validate_json(body)


def write(s3: Any, bucket: str, environment: str, meter: Meter) -> None:
    """Raises CloudError. Of two that look at once the later stays: the next look sees what the other saw."""
    with aws_errors("writing the meter of instances"):
        s3.put_object(
            Bucket=bucket,
            Key=_key(environment),
            Body=meter.model_dump_json().encode(),
            ContentType="application/json",
        )


def _key(environment: str) -> str:
    return f"costs/{environment}.json"

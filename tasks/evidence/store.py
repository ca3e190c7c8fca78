"""Keep bundles beside the ledger, in the model bucket.

releases/{environment}/{model}/evidence.json              the newest
releases/{environment}/{model}/evidence/{number:06}.json  each of them
releases/{environment}/{model}/evidence/{number:06}.NAME  the model's signature and the bill of materials
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import aws_errors, error_code


class Store:
    """The bundles of one model in one environment."""

    def __init__(self, s3: Any, bucket: str, environment: str, model: str) -> None:
        self._s3, self._bucket = s3, bucket
        self._folder = f"releases/{environment}/{model}"

    @property
    def newest_uri(self) -> str:
        return f"s3://{self._bucket}/{self._folder}/evidence.json"

    @property
    def numbered_uri(self) -> str:
        return f"s3://{self._bucket}/{self._folder}/evidence"

    def newest(self) -> bytes | None:
        return self._read(f"{self._folder}/evidence.json")

    def numbered(self, sequence: int) -> bytes | None:
        return self._read(f"{self._folder}/evidence/{sequence:06}.json")

    def beside(self, sequence: int, name: str) -> bytes | None:
        return self._read(f"{self._folder}/evidence/{sequence:06}.{name}")

    def keep_beside(self, sequence: int, documents: Mapping[str, bytes]) -> None:
        """Write what a bundle names beside itself; before the bundle, which tells that it is complete."""
        for name, body in documents.items():
            with aws_errors("writing the evidence"):
                self._s3.put_object(
                    Bucket=self._bucket,
                    Key=f"{self._folder}/evidence/{sequence:06}.{name}",
                    Body=body,
                    ContentType="application/json",
                )

    def keep(self, body: bytes, sequence: int) -> str:
        """Write a bundle, as the newest last; its address. A run that is killed between both writes it again."""
        numbered = f"{self._folder}/evidence/{sequence:06}.json"
        for key in (numbered, f"{self._folder}/evidence.json"):
            with aws_errors("writing the evidence"):
                self._s3.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/vnd.dsse.envelope.v1+json",
                )
        return f"s3://{self._bucket}/{numbered}"

    def _read(self, key: str) -> bytes | None:
        with aws_errors("reading the evidence"):
            try:
                body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                    return None
                raise
            return body

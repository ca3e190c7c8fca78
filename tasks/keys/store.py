"""The ring of keys in Secrets Manager, changed so that of two changes at once none is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from pydantic import ValidationError

from tasks.cloud.aws import Aws, aws_errors
from tasks.cloud.waiting import REAL, Time
from tasks.records.environment import Environment
from tasks.records.errors import CloudError, InputError, NothingDeployed
from tasks.records.keys import KeyRing

CURRENT = "AWSCURRENT"
ATTEMPTS, AGAIN_SECONDS = 8, 0.2


class Kept(NamedTuple):
    """A ring, and the version it has in Secrets Manager; None where nobody has written one yet."""

    ring: KeyRing
    version: str | None


class KeyStore:
    """The keys of one environment, in the secret that terraform made for them."""

    def __init__(self, aws: Aws, environment: Environment, time: Time = REAL) -> None:
        self._client: Any = aws.client("secretsmanager")
        self._environment, self._time = environment, time
        self.secret = f"{environment.cluster.name}/api-keys"

    def read(self) -> Kept:
        """Raises NothingDeployed where the secret is not there, CloudError where it holds something else."""
        with aws_errors("reading the API keys"):
            try:
                found = self._client.get_secret_value(SecretId=self.secret, VersionStage=CURRENT)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
                return self._never_written()
        try:
            return Kept(KeyRing.model_validate_json(found["SecretString"]), found["VersionId"])
        except (KeyError, ValidationError):
            # pydantic's words quote what it read
            raise CloudError(
                f"the secret {self.secret} is no list of keys as Slipway writes it",
                next_command=f"aws secretsmanager list-secret-version-ids --secret-id {self.secret}",
            ) from None

    def change(self, decide: Callable[[KeyRing], KeyRing]) -> Kept:
        """Write what `decide` makes of the ring; nothing where it makes the same. Raises what `decide` raises."""
        for _ in range(ATTEMPTS):
            kept = self.read()
            wanted = decide(kept.ring)
            if wanted == kept.ring and kept.version:
                return kept
            if version := self._write(wanted, kept.version):
                return Kept(wanted, version)
            self._time.sleep(AGAIN_SECONDS)
        raise InputError(
            "the API keys are being changed by somebody else", next_command="run the same command again"
        )

    def _never_written(self) -> Kept:
        """An empty ring where the secret is there without a value: terraform makes it so."""
        try:
            self._client.describe_secret(SecretId=self.secret)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise NothingDeployed(
                f"{self._environment.name} has no secret for API keys yet",
                next_command=f"slipway deploy MODEL -e {self._environment.name}",
            ) from None
        return Kept(KeyRing(), None)

    def _write(self, ring: KeyRing, before: str | None) -> str | None:
        """The version written; None where the current one is no longer `before`.

        PutSecretValue alone would overwrite: the label AWSCURRENT is moved by a call that names where it is now.
        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
        """
        mark = f"slipway-{uuid.uuid4().hex}"
        with aws_errors("writing the API keys"):
            put = self._client.put_secret_value(
                SecretId=self.secret, SecretString=ring.model_dump_json(), VersionStages=[mark]
            )
            # the secret's first value becomes current by itself
            current = CURRENT in put["VersionStages"] or self._make_current(put["VersionId"], before)
            self._client.update_secret_version_stage(
                SecretId=self.secret, VersionStage=mark, RemoveFromVersionId=put["VersionId"]
            )
        return str(put["VersionId"]) if current else None

    def _make_current(self, version: str, before: str | None) -> bool:
        """Whether the label was still on `before`."""
        if before is None:
            return False
        try:
            self._client.update_secret_version_stage(
                SecretId=self.secret,
                VersionStage=CURRENT,
                MoveToVersionId=version,
                RemoveFromVersionId=before,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidParameterException":
                raise
            return False
        return True

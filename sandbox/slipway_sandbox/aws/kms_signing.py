"""`kms:Sign` of a digest: moto 5.2.5 hashes it once more, so that no verifier accepts the signature."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse

SPEC, ALGORITHM = "ECC_NIST_P256", "ECDSA_SHA_256"


def extend() -> None:
    """Let Sign take MessageType DIGEST for keys on P-256, once, before moto answers.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
    """
    of_a_message = KmsResponse.sign

    def sign(self: Any) -> str:
        if self._get_param("MessageType") != "DIGEST":
            return str(of_a_message(self))
        key_id, digest = self._get_param("KeyId"), self._get_param("Message")
        self._validate_key_id(key_id)
        key = self.kms_backend.describe_key(key_id)
        if (key.key_spec, self._get_param("SigningAlgorithm")) != (SPEC, ALGORITHM):
            raise NotImplementedError(f"the sandbox signs digests with {SPEC} only, not {key.key_spec}")
        if len(digest) != SHA256.digest_size:
            raise ValidationException(f"Digest is invalid length for algorithm {ALGORITHM}.")
        signature = key.private_key.private_key.sign(digest, ECDSA(Prehashed(SHA256())))
        return json.dumps(
            {
                "KeyId": key.arn,
                "Signature": base64.b64encode(signature).decode(),
                "SigningAlgorithm": ALGORITHM,
            }
        )

    KmsResponse.sign = sign

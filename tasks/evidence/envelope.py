"""Sign a statement into a DSSE envelope, and read one strictly.

DSSE v1.0.2: github.com/secure-systems-lab/dsse, protocol.md and envelope.md; signing and keys by securesystemslib 1.6.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import AWSSigner, Signature, Signer, SSlibKey

from tasks.evidence.statement import PAYLOAD_TYPE, Statement
from tasks.records.errors import EvidenceRefused, InputError

SCHEME = "ecdsa-sha2-nistp256"
MOST_BYTES = 64 * 2**20  # a release of thousands of files has 1 MiB


class Opened(NamedTuple):
    """A payload whose signature holds."""

    payload: bytes

    @property
    def sha256(self) -> str:
        """Names the evidence in the chain; over the payload, as other signatures of it say the same."""
        return hashlib.sha256(self.payload).hexdigest()


class KmsSigner(AWSSigner):
    """`kms:Sign` over the digest, by a client with this environment's region, credentials and deadlines."""

    def __init__(self, client: Any, key: str, public_key: SSlibKey) -> None:
        self.client, self.aws_key_id, self._public_key = client, key, public_key
        self.aws_algo = self.aws_algos[public_key.scheme]


def read_public_key(pem_or_der: bytes) -> SSlibKey:
    """Raises InputError for anything but an ECDSA P-256 public key."""
    load = load_pem_public_key if pem_or_der.lstrip().startswith(b"-----") else load_der_public_key
    try:
        key = load(pem_or_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"the public key cannot be read: {error}") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InputError("the public key is not an ECDSA key on P-256")
    return SSlibKey.from_crypto(key, scheme=SCHEME)


def pem_of(key: SSlibKey) -> str:
    """The public key as PEM."""
    return str(key.keyval["public"])


def seal(statement: Statement, signer: Signer) -> bytes:
    """The envelope as JSON."""
    envelope = Envelope(statement.payload(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), indent=1).encode()


def open_envelope(body: bytes, key: SSlibKey) -> Opened:
    """The payload, where every signature is of `key` and holds. Raises EvidenceRefused.

    Stricter than DSSE: exactly one signature, no further fields, no urlsafe base64.
    """
    document = _fields(body)
    if document["payloadType"] != PAYLOAD_TYPE:
        raise EvidenceRefused(f"payload type: {document['payloadType']!r} is not {PAYLOAD_TYPE}")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or not signatures:
        raise EvidenceRefused("unsigned: it has no signature")
    if len(signatures) > 1:
        raise EvidenceRefused(f"signatures: it has {len(signatures)}, and one is expected")
    [signature] = signatures
    if not isinstance(signature, dict) or signature.keys() != {"keyid", "sig"}:
        raise EvidenceRefused("unreadable: a signature has `keyid` and `sig`")
    payload, sig = _bytes(document["payload"], "payload"), _bytes(signature["sig"], "sig")
    if signature["keyid"] != key.keyid:
        raise EvidenceRefused(
            "wrong signer: it names another key",
            evidence=[f"trusted: {key.keyid}", f"there: {signature['keyid']}"],
        )
    try:
        pae = Envelope(payload, PAYLOAD_TYPE, {}).pae()
        key.verify_signature(Signature(key.keyid, sig.hex()), pae)
    except UnverifiedSignatureError:
        raise EvidenceRefused(
            "broken signature: what it says was changed, or another key signed it"
        ) from None
    return Opened(payload)


def _fields(body: bytes) -> dict[str, Any]:
    document = read_json(body)
    if document.keys() != {"payload", "payloadType", "signatures"}:
        raise EvidenceRefused("unreadable: it is no DSSE envelope", evidence=sorted(document)[:10])
    return document


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object in which no key stands twice. Raises EvidenceRefused."""
    if len(body) > MOST_BYTES:
        raise EvidenceRefused(f"unreadable: {len(body)} bytes, more than {MOST_BYTES}")
    try:
        document = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise EvidenceRefused(f"unreadable: {error}") from error
    if not isinstance(document, dict):
        raise EvidenceRefused("unreadable: it is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _bytes(text: Any, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise EvidenceRefused(f"unreadable: `{field}` is not base64: {error}") from error

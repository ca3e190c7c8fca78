"""Sign a model's files in OpenSSF model-signing's format, from the hashes that staging has: no weight is read.

A sigstore bundle around a DSSE envelope, as model-signing 1.1.1 writes it: _signing/signing.py (payload),
_signing/sign_ec_key.py (bundle), manifest.py (serialization), of github.com/sigstore/model-transparency.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from tasks.evidence.statement import PAYLOAD_TYPE, STATEMENT_TYPE
from tasks.records.results import Manifest

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MODEL_SIGNATURE = "https://model_signing/signature/v1.0"
# the library's own of a repository, which its verifier leaves out, and what staging keeps beside the files
GIT_PATHS = (".git", ".github", ".gitattributes", ".gitignore")
IGNORED = (*GIT_PATHS, ".slipway")


def model_statement(manifest: Manifest) -> dict[str, Any]:
    """The in-toto statement: every file with its sha256, and one digest over all of them. Pure."""
    files = sorted(manifest.files, key=lambda file: PurePosixPath(file.path))
    listed = [file for file in files if PurePosixPath(file.path).parts[0] not in IGNORED]
    root = hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in listed)).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.repo.rpartition("/")[2], "digest": {"sha256": root}}],
        "predicateType": MODEL_SIGNATURE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(IGNORED),
            },
            "resources": [
                {"name": file.path, "algorithm": "sha256", "digest": file.sha256} for file in listed
            ],
        },
    }


def sign_model(manifest: Manifest, signer: Signer) -> bytes:
    """The bundle that `model_signing verify key` reads."""
    payload = json.dumps(model_statement(manifest), indent=1).encode()
    signature = signer.sign(Envelope(payload, PAYLOAD_TYPE, {}).pae())
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(bytes.fromhex(signature.signature)).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": hint_of(str(signer.public_key.keyval["public"]))}, "tlogEntries": []}
    bundle = {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(bundle).encode()


def hint_of(public_key: str) -> str:
    """How the library names a key in PEM: by the sha256 of it, as it writes PEM itself."""
    pem = load_pem_public_key(public_key.encode()).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()

"""The model's signature is what model-signing 1.1.1 writes of the same files, and signed by our key.

recorded/model-signing-1.1.1.{sig,pem}: `model_signing sign key m --signature m.sig --private_key k.pem` of a folder m with
config.json, sub/x and w.safetensors, and the key's public half. The package itself (112 MB with what it needs) is no
dependency; docs/evidence.md says how its own verifier was run on ours.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from tasks.evidence.envelope import pem_of, read_public_key
from tasks.evidence.model_signing import hint_of, model_statement, sign_model
from tasks.evidence.statement import PAYLOAD_TYPE
from tasks.records.results import Manifest, StagedFile
from tests.support.evidence import a_signer

RECORDED = Path(__file__).with_name("recorded")
GOLDEN: dict[str, Any] = json.loads((RECORDED / "model-signing-1.1.1.sig").read_text())
GOLDEN_KEY = read_public_key((RECORDED / "model-signing-1.1.1.pem").read_bytes())
SIGNER = a_signer()


def statement_in(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return found


def staged(files: dict[str, str]) -> Manifest:
    listed = [
        StagedFile(path=path, size=1, sha256=sha256, crc64nvme="", part_size=1, parts=())
        for path, sha256 in files.items()
    ]
    return Manifest(
        repo="org/m", commit="0" * 40, files=tuple(listed), staged_at=datetime(2026, 1, 1, tzinfo=UTC), staged_by="0"
    )  # fmt: skip


def golden_files() -> dict[str, str]:
    return {one["name"]: one["digest"] for one in statement_in(GOLDEN)["predicate"]["resources"]}


def holds(bundle: dict[str, Any], key: SSlibKey) -> None:
    """What model_signing verifies of a bundle: media type, key and signature over the payload."""
    assert bundle["mediaType"] == GOLDEN["mediaType"]
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == hint_of(pem_of(key))
    envelope = bundle["dsseEnvelope"]
    pae = Envelope(base64.b64decode(envelope["payload"]), PAYLOAD_TYPE, {}).pae()
    [signature] = envelope["signatures"]
    key.verify_signature(Signature(key.keyid, base64.b64decode(signature["sig"]).hex()), pae)


def test_the_statement_is_the_librarys_own_of_the_same_files() -> None:
    ours, theirs = model_statement(staged(golden_files())), statement_in(GOLDEN)
    ignored = ours["predicate"]["serialization"].pop("ignore_paths")
    assert set(ignored) == {*theirs["predicate"]["serialization"].pop("ignore_paths"), ".slipway"}
    assert ours == theirs


def test_the_order_of_staging_does_not_matter() -> None:
    files = golden_files()
    assert model_statement(staged(dict(reversed(files.items())))) == model_statement(staged(files))


def test_files_that_its_verifier_leaves_out_are_not_listed() -> None:
    more = {".gitattributes": "a" * 64, ".slipway/manifest.json": "b" * 64}
    assert model_statement(staged(golden_files() | more)) == model_statement(staged(golden_files()))


def test_the_recorded_bundle_and_ours_have_the_same_shape_and_both_hold() -> None:
    ours = json.loads(sign_model(staged(golden_files()), SIGNER))
    holds(GOLDEN, GOLDEN_KEY)
    holds(ours, SIGNER.public_key)
    for part in ("verificationMaterial", "dsseEnvelope"):
        assert ours[part].keys() == GOLDEN[part].keys()


def test_a_weight_that_was_changed_breaks_the_signature() -> None:
    ours = json.loads(sign_model(staged(golden_files()), SIGNER))
    payload = json.dumps(model_statement(staged(golden_files() | {"w.safetensors": "0" * 64})), indent=1)
    ours["dsseEnvelope"]["payload"] = base64.b64encode(payload.encode()).decode()
    with pytest.raises(UnverifiedSignatureError):
        holds(ours, SIGNER.public_key)

"""Evidence as a proven release would have it, from a seed, and a key to sign it with."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from tasks.evidence.envelope import pem_of, seal
from tasks.evidence.statement import Evidence, Statement, statement_of
from tasks.evidence.verify import Expected, verify
from tasks.records.model import Engine
from tasks.records.results import Manifest, PreflightRow, Promoted, Release, StagedFile
from tasks.releases.records import Approval, Made, ReleaseRecord
from tests.support.reports import AT, a_run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "d" * 64


def a_signer() -> CryptoSigner:
    return CryptoSigner.generate_ecdsa()


def a_chain_of_files(folder: Path) -> tuple[Path, Path, Path]:
    """A bundle, the one it replaces, and their signer's public key, as files."""
    signer = a_signer()
    before, after, key = folder / "1.json", folder / "2.json", folder / "key.pem"
    before.write_bytes(seal(a_proof(), signer))
    sha = verify(before.read_bytes(), signer.public_key, now=NOW).sha256
    after.write_bytes(seal(a_proof(replaces=sha, sequence=2), signer))
    key.write_text(pem_of(signer.public_key))
    return after, before, key


def a_manifest(chance: random.Random, files: int = 4) -> Manifest:
    names = ["config.json", *(f"model-{n:05}-of-{files:05}.safetensors" for n in range(1, files + 1))]
    staged = [
        StagedFile(path=name, size=chance.randrange(10**10), sha256=chance.randbytes(32).hex(), crc64nvme="", part_size=1, parts=())
        for name in names
    ]  # fmt: skip
    return Manifest(repo="org/llama", commit="0" * 40, files=tuple(staged), staged_at=AT, staged_by="0.1.0")


def a_proof(seed: int = 0, *, replaces: str | None = None, sequence: int = 1, **over: Any) -> Statement:
    """An honest statement; `over` sets fields of its evidence."""
    return statement_of(*_parts(seed), an_evidence(seed, replaces=replaces, sequence=sequence, **over))


def expected_of(seed: int = 0, *, sequence: int = 1) -> Expected:
    """What a promotion expects of `a_proof(seed)`."""
    record, _ = _parts(seed)
    statement = a_proof(seed)
    return Expected(record.release, statement.subject, statement.predicate.report.started_at, sequence)


def an_evidence(seed: int = 0, **over: Any) -> Evidence:
    record, _ = _parts(seed)
    chance = random.Random(seed)
    fields: dict[str, Any] = {
        "release": record.release,
        "report": a_run(seed % 5, requests=40),
        "approved_by": f"arn:aws:iam::111122223333:role/deployer-{chance.randrange(9)}",
        "signed_at": AT + timedelta(minutes=chance.randrange(1000)),
        "slipway_version": "0.1.0",
        "sequence": 1,
        "replaces": None,
        "catalogue_commit": chance.choice([None, "c" * 40]),
        "made": Made(
            preflight=(PreflightRow(check="quota", status="ok", detail="8 vCPU"), PreflightRow(check="cost", status="warn", detail="?")),
            judged_at=AT,
            plans={"storage": "no change", "cluster": chance.choice(["no change", "e" * 64])},
            price="1.01 USD an hour",
            engine_version=chance.choice(["", "0.32.0"]),
        ),
        "approval": chance.choice([None, Approval(approver="ana", reason="release day", at=AT, how="in Prefect")]),
        "beside": {"model.sig": "1" * 64, "bom.cdx.json": "2" * 64},
        "promoted_from": chance.choice([None, Promoted(environment="dev", evidence_sha256="f" * 64, sequence=3, key_id="a" * 64)]),
    }  # fmt: skip
    return Evidence(**fields | over)


def _parts(seed: int) -> tuple[ReleaseRecord, Manifest]:
    chance = random.Random(seed)
    image = (
        chance.choice([f"vllm/vllm-openai:v0.32.0@{DIGEST}", f"vllm/vllm-openai@{DIGEST}"])
        if seed
        else f"vllm/vllm-openai@{DIGEST}"
    )
    release = Release(
        model="llama", environment="staging", repo="org/llama", commit="0" * 40, image=image,
        engine=Engine(image=image, max_num_seqs=chance.randrange(1, 512)), manifests_sha256=chance.randbytes(32).hex(),
    )  # fmt: skip
    args = ["--max-num-seqs", str(release.engine.max_num_seqs), "ümlaut"]
    documents = (
        {"kind": "Deployment", "metadata": {"name": "vllm-llama", "namespace": "llm"}, "args": args},
        {"kind": "Service", "metadata": {"name": "vllm-llama", "namespace": "llm"}},
    )
    return ReleaseRecord(release=release, documents=documents), a_manifest(chance, chance.randrange(1, 30))

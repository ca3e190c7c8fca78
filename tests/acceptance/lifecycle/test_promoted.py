"""What is proven in one environment comes into the next by S3 alone: the hub is down all the while."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from slipway_sandbox.testing import Faults

from tasks.evidence.envelope import seal
from tasks.evidence.statement import Statement
from tasks.releases.ledger import Ledger
from tests.support.project import BUCKET, ENVIRONMENT, NEXT, Project, another_environment

FAILED = 1
NEXT_BUCKET = "slipway-next-models"
PROMOTE = ("promote", "tiny-llama", "-e", NEXT, "--yes")


@pytest.fixture(scope="module")
def next_environment(project: Project) -> Iterator[str]:
    """An environment of its own, which only takes what is proven in the first."""
    another_environment(project, NEXT, promote_from=ENVIRONMENT)
    # other files roll back, and then the newest evidence is of another release than serves
    project.serve()
    project.run("validate", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    yield NEXT
    project.run("teardown", "-e", NEXT, "--models", "delete", "--volumes", "delete").succeeded()


def test_a_promotion_does_not_ask_the_hub(
    next_environment: str, serving: str, project: Project, faults: Faults
) -> None:
    faults.set("hub-5xx")
    faults.set("image-moved")
    done = project.run(*PROMOTE, SLIPWAY_COMMIT="0123456789abcdef").succeeded()
    assert "the hub is not asked" in done.output
    assert re.search(
        r"the tag vllm/vllm-openai:v[\d.]+ has moved: .*; what is proven is promoted", done.output
    )
    [proven_image, runs] = [image_of(project, name) for name in (ENVIRONMENT, NEXT)]
    assert "@sha256:" in proven_image
    assert runs == proven_image
    status = project.run("status", "-e", NEXT).succeeded()
    assert "  made from commit 0123456789ab" in status.output
    proven = project.serving().serving
    s3 = project.client("s3")
    manifests = [
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for bucket in (BUCKET, NEXT_BUCKET)
        for key in [_manifest_key(project, bucket)]
    ]
    assert proven
    assert manifests[0] == manifests[1]


def image_of(project: Project, environment: str) -> str:
    """What the ledger says of the release that serves, held to the Deployment it was applied with."""
    ledger = Ledger(project.client("s3"), f"slipway-{environment}-models", environment, "tiny-llama")
    serving = ledger.serving().serving
    assert serving
    record = ledger.record(serving)
    [deployment] = [one for one in record.documents if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == record.release.image == record.release.engine.image
    return record.release.image


def _manifest_key(project: Project, bucket: str) -> str:
    """Of what is proven in the first environment; other tests may have staged other commits there."""
    s3, proven = project.client("s3"), project.serving().serving
    assert proven
    commit = Ledger(s3, BUCKET, ENVIRONMENT, "tiny-llama").record(proven).release.commit
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"slipway/tiny-llama/{commit}/")["Contents"]
    [key] = [item["Key"] for item in listed if item["Key"].endswith("/.slipway/manifest.json")]
    return str(key)


@pytest.mark.long
def test_what_lost_a_file_since_it_was_proven_is_not_promoted(
    next_environment: str, serving: str, project: Project
) -> None:
    s3 = project.client("s3")
    key = _manifest_key(project, BUCKET).replace(".slipway/manifest.json", "config.json")
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=key)
    try:
        project.run(*PROMOTE).refused(FAILED, "error: .* is not whole", "missing: config.json")
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)


@pytest.mark.long
def test_a_tag_that_moved_is_told_and_makes_another_release(
    serving: str, project: Project, faults: Faults
) -> None:
    before = image_of(project, ENVIRONMENT)
    faults.set("image-moved")
    done = project.deploy().succeeded()
    after = image_of(project, ENVIRONMENT)
    assert after != before
    assert after.partition("@")[0] == before.partition("@")[0]
    assert f"it was {before.partition('@')[2]}, and is {after.partition('@')[2]} now" in done.output


NEWEST = f"releases/{ENVIRONMENT}/tiny-llama/evidence.json"
REFUSED = 3


def test_evidence_is_fetched_explained_and_verified_offline(
    next_environment: str, serving: str, project: Project, tmp_path: Path
) -> None:
    said = project.run("evidence", "tiny-llama", "-e", ENVIRONMENT, "--out", str(tmp_path)).succeeded()
    assert f"Evidence of tiny-llama in {ENVIRONMENT}" in said.output
    key = ("--key", str(tmp_path / "public.pem"))
    project.run("verify", str(tmp_path / "bundle.json"), *key).succeeded()
    signed = json.loads((tmp_path / "model.sig").read_text())
    model = json.loads(base64.b64decode(signed["dsseEnvelope"]["payload"]))["predicate"]["resources"]
    bom = json.loads((tmp_path / "bom.cdx.json").read_text())["components"][0]
    assert bom["type"] == "machine-learning-model"
    # .gitattributes is staged, and is no part of what model_signing looks at
    listed = {one["name"]: one["hashes"][0]["content"] for one in bom["components"]}
    listed.pop(".gitattributes", None)
    assert {one["name"]: one["digest"] for one in model} == listed


def test_what_is_proven_again_keeps_how_its_deploy_made_it(
    next_environment: str, serving: str, project: Project
) -> None:
    # signed by `slipway validate`, which has no preflight, plan or price of its own
    body = project.client("s3").get_object(Bucket=BUCKET, Key=NEWEST)["Body"].read()
    signed = Statement.model_validate_json(base64.b64decode(json.loads(body)["payload"]))
    made = signed.predicate.made
    assert made
    assert {row.check for row in made.preflight} >= {"account", "GPU memory", "engine flags", "cost"}
    assert "USD an hour" in made.price
    assert made.engine_version
    assert set(made.plans) == {"storage", "cluster"}
    assert {subject.name for subject in signed.subject} >= {
        "kubernetes/Deployment/llm/vllm-tiny-llama",
        "kubernetes/ScaledObject/llm/vllm-tiny-llama",
        "kubernetes/NetworkPolicy/llm/vllm",
    }


def test_evidence_that_was_changed_stripped_or_is_of_something_else_is_not_promoted(
    next_environment: str, serving: str, project: Project
) -> None:
    s3 = project.client("s3")
    body = s3.get_object(Bucket=BUCKET, Key=NEWEST)["Body"].read()
    envelope = json.loads(body)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    found = Statement.model_validate(statement)
    statement["predicate"]["report"]["achieved_rate"] = 1e6
    edited = base64.b64encode(json.dumps(statement).encode()).decode()
    forgeries = {
        "broken signature": json.dumps(envelope | {"payload": edited}).encode(),
        "unsigned: it has no signature": json.dumps(envelope | {"signatures": []}).encode(),
        "wrong signer": seal(found, CryptoSigner.generate_ecdsa()),
    }
    try:
        for reason, forgery in forgeries.items():
            s3.put_object(Bucket=BUCKET, Key=NEWEST, Body=forgery)
            project.run(*PROMOTE).refused(REFUSED, f"error: {reason}", "next: ")
        s3.delete_object(Bucket=BUCKET, Key=NEWEST)
        project.run(*PROMOTE).refused(REFUSED, "error: unsigned: there is no evidence", "slipway validate")
        s3.put_object(Bucket=BUCKET, Key=NEWEST, Body=body)
        bom = f"releases/{ENVIRONMENT}/tiny-llama/evidence/{found.predicate.sequence:06}.bom.cdx.json"
        kept = s3.get_object(Bucket=BUCKET, Key=bom)["Body"].read()
        s3.put_object(Bucket=BUCKET, Key=bom, Body=kept.replace(b"machine-learning-model", b"library"))
        project.run(*PROMOTE).refused(REFUSED, "error: wrong bytes: bom.cdx.json is not what was signed")
        s3.put_object(Bucket=BUCKET, Key=bom, Body=kept)
    finally:
        s3.put_object(Bucket=BUCKET, Key=NEWEST, Body=body)

"""Each forgery of a bundle is refused for its own reason; honest bundles are accepted."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from tasks.evidence.envelope import seal
from tasks.evidence.statement import PAYLOAD_TYPE, Statement
from tasks.evidence.verify import Expected, check_chain, check_expected, verify
from tasks.records.errors import EvidenceRefused
from tests.support.evidence import NOW, a_proof, a_signer, expected_of
from tests.support.reports import AT, failed, judged_outcomes

SIGNER, STRANGER = a_signer(), a_signer()
HONEST = a_proof()
OPEN: dict[str, Any] = json.loads(seal(HONEST, SIGNER))
BROKEN = "broken signature"


def judge(body: bytes, *, sequence: int = 1, previous: bytes | None = None) -> None:
    """What promotion asks of a bundle."""
    found = verify(body, SIGNER.public_key, now=NOW)
    if previous:
        check_chain(found, verify(previous, SIGNER.public_key, now=NOW))
    check_expected(found, expected_of(sequence=sequence))


def enveloped(**over: Any) -> bytes:
    """The honest envelope with other fields."""
    return json.dumps(OPEN | over).encode()


def unsigned_edit(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """The payload edited by somebody without the key."""
    document = json.loads(base64.b64decode(OPEN["payload"]))
    edit(document)
    payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return enveloped(payload=base64.b64encode(payload).decode())


def signed_edit(edit: Callable[[dict[str, Any]], Any], signer: CryptoSigner = SIGNER) -> bytes:
    """The payload edited by somebody with a key."""
    document = json.loads(HONEST.payload())
    edit(document)
    return signed(json.dumps(document).encode(), signer)


def signed(payload: bytes, signer: CryptoSigner = SIGNER, kind: str = PAYLOAD_TYPE) -> bytes:
    envelope = Envelope(payload, kind, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict()).encode()


def signature(**over: str) -> list[dict[str, str]]:
    return [OPEN["signatures"][0] | over]


def weight(document: dict[str, Any]) -> None:
    one = next(s for s in document["subject"] if s["name"].endswith(".safetensors"))
    digest = one["digest"]["sha256"]
    one["digest"]["sha256"] = digest[:-1] + ("0" if digest[-1] != "0" else "1")


def release(**over: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["predicate"]["release"].update(over)


def predicate(**over: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["predicate"].update(over)


def added(document: dict[str, Any]) -> None:
    document["subject"].append({"name": "model/extra.bin", "digest": {"sha256": "a" * 64}})


def twice(document: dict[str, Any]) -> None:
    document["subject"].append(document["subject"][0])


def manifests(document: dict[str, Any]) -> None:
    next(s for s in document["subject"] if s["name"] == "kubernetes/Deployment/llm/vllm-llama")["digest"][
        "sha256"
    ] = "b" * 64


def made(**over: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["predicate"]["made"].update(over)


def no_manifest(document: dict[str, Any]) -> None:
    document["subject"] = [s for s in document["subject"] if s["name"] != "kubernetes/Service/llm/vllm-llama"]


def one_flag(document: dict[str, Any]) -> None:
    document["predicate"]["release"]["engine"]["trust_remote_code"] = True


def tagged(document: dict[str, Any]) -> None:
    document["predicate"]["release"].update(image="vllm/vllm-openai:v0.32.0")
    document["subject"] = [s for s in document["subject"] if not s["name"].startswith("image/")]


def moved_image(document: dict[str, Any]) -> None:
    image = next(s for s in document["subject"] if s["name"].startswith("image/"))
    image["digest"]["sha256"] = "0" * 64


OK_ROW = {"check": "quota", "status": "ok", "detail": "8 vCPU"}
FAILED_RUN = judged_outcomes([failed() for _ in range(10)], errors=0.1).model_dump(mode="json")
FIRST = seal(HONEST, SIGNER)
SECOND = seal(a_proof(replaces="9" * 64, sequence=2), SIGNER)

FORGERIES: dict[str, tuple[bytes, str]] = {
    # by somebody without the key
    "a digit in a weight's sha256": (unsigned_edit(weight), BROKEN),
    "the image's digest": (unsigned_edit(moved_image), BROKEN),
    "an edited load report": (unsigned_edit(lambda d: d["predicate"]["report"].update(achieved_rate=1e6)), BROKEN),
    "an approver written in": (unsigned_edit(predicate(approved_by="ceo")), BROKEN),
    "a preflight row that failed, made ok": (unsigned_edit(made(preflight=[OK_ROW])), BROKEN),
    "another terraform plan": (unsigned_edit(made(plans={"storage": "no change", "cluster": "0" * 64})), BROKEN),
    "another bill of materials": (unsigned_edit(predicate(beside={"bom.cdx.json": "0" * 64})), BROKEN),
    "a lower price": (unsigned_edit(made(price="0.01 USD an hour")), BROKEN),
    "an approval that was never given": (
        unsigned_edit(predicate(approval={"approver": "ceo", "reason": "ok", "at": "2025-01-01T00:00:00Z", "how": "said"})),
        BROKEN,
    ),
    "a subject removed": (unsigned_edit(lambda d: d["subject"].pop()), BROKEN),
    "a subject added": (unsigned_edit(added), BROKEN),
    "the payload written with other white space": (
        enveloped(payload=base64.b64encode(json.dumps(json.loads(HONEST.payload()), indent=1).encode()).decode()),
        BROKEN,
    ),
    "the payload type": (enveloped(payloadType="application/json"), "payload type"),
    "the signature stripped": (enveloped(signatures=[]), "unsigned"),
    "a second signature that does not hold": (enveloped(signatures=[*signature(), *signature(keyid="0" * 64)]), "signatures"),
    "the same signature under another key id": (enveloped(signatures=signature(keyid="0" * 64)), "wrong signer"),
    "another signer": (seal(HONEST, STRANGER), "wrong signer"),
    "another signer under the trusted key id": (
        enveloped(signatures=signature(sig=json.loads(seal(HONEST, STRANGER))["signatures"][0]["sig"])),
        BROKEN,
    ),
    "a payload cut short": (enveloped(payload=OPEN["payload"][:-3]), "unreadable"),
    "a field twice": (seal(HONEST, SIGNER).replace(b"{", b'{"payload": "e30=", ', 1), "unreadable"),
    "a further field": (enveloped(comment="trust me"), "unreadable"),
    "no JSON": (b"\xff\xfe", "unreadable"),
    # signed by the key, and still not evidence of what is promoted
    "the payload signed under another type": (signed(HONEST.payload(), kind="text/plain"), "payload type"),
    "another predicate type": (signed_edit(lambda d: d.update(predicateType="urn:other")), "predicate type"),
    "another statement type": (signed_edit(lambda d: d.update(_type="https://in-toto.io/Statement/v0.1")), "statement type"),
    "an approval by nobody": (signed_edit(predicate(approved_by=" ")), "not approved"),
    "an approval in a name of blanks": (
        signed_edit(predicate(approval={"approver": " ", "reason": "ok", "at": "2025-01-01T00:00:00Z", "how": "said"})),
        "not approved",
    ),
    "a preflight row that failed": (signed_edit(made(preflight=[OK_ROW | {"status": "fail"}])), "not proven"),
    "no preflight table": (signed_edit(made(preflight=[])), "unreadable"),
    "a plan that is no hash": (signed_edit(made(plans={"storage": "no change", "cluster": "trust me"})), "unreadable"),
    "only one of the two plans": (signed_edit(made(plans={"storage": "no change"})), "unreadable"),
    "no price": (signed_edit(made(price="")), "unreadable"),
    "a preflight of after the signature": (signed_edit(made(judged_at="2025-12-31T00:00:00Z")), "clock"),
    "a release nobody knows how it was made": (signed_edit(predicate(made=None)), "incomplete"),
    "a release whose image is a tag": (signed_edit(tagged), "stale"),
    "a manifest that is not listed": (signed_edit(no_manifest), "wrong bytes"),
    "a load validation that failed": (signed_edit(predicate(report=FAILED_RUN)), "not proven"),
    "a swapped model": (signed_edit(release(model="mistral")), "wrong model"),
    "a bundle of another environment": (signed_edit(release(environment="sandbox")), "wrong environment"),
    "a manifest changed by one flag": (signed_edit(manifests), "wrong bytes"),
    "another engine flag": (signed_edit(one_flag), "stale"),
    "other weights": (signed_edit(weight), "wrong bytes"),
    "an unlisted file": (signed_edit(lambda d: d["subject"].remove(next(s for s in d["subject"] if s["name"] == "model/config.json"))), "wrong bytes"),
    "a file that is not there": (signed_edit(added), "wrong bytes"),
    "an image other than the release's": (signed_edit(moved_image), "subjects"),
    "a subject twice": (signed_edit(twice), "subjects"),
    "no model files": (
        signed_edit(lambda d: d.update(subject=[s for s in d["subject"] if not s["name"].startswith("model/")])),
        "subjects",
    ),
    "a proof of another day": (
        signed_edit(lambda d: d["predicate"]["report"].update(started_at="2024-12-31T00:00:00Z")),
        "stale",
    ),
    "signed in the future": (signed_edit(predicate(signed_at="2031-01-01T00:00:00Z")), "clock"),
    "a first one that replaces another": (signed_edit(predicate(replaces="0" * 64)), "cut chain"),
    "a later one that replaces none": (signed_edit(predicate(sequence=7)), "cut chain"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused_for_what_is_wrong(name: str) -> None:
    body, reason = FORGERIES[name]
    with pytest.raises(EvidenceRefused) as refused:
        judge(body)
    assert refused.value.cause.partition(":")[0] == reason


def test_a_release_by_its_tag_only_is_not_promoted() -> None:
    release = HONEST.predicate.release.model_copy(update={"image": "vllm/vllm-openai:v0.32.0"})
    subjects = tuple(one for one in HONEST.subject if not one.name.startswith("image/"))
    evidence = HONEST.predicate.model_copy(update={"release": release})
    body = seal(Statement(subject=subjects, predicate=evidence), SIGNER)
    found = verify(body, SIGNER.public_key, now=NOW)
    with pytest.raises(EvidenceRefused, match="moving image"):
        check_expected(found, Expected(release, subjects, evidence.report.started_at))


def test_an_older_bundle_played_again_is_stale() -> None:
    judge(FIRST)
    with pytest.raises(EvidenceRefused, match="stale: it is number 1, and number 2 has been seen"):
        judge(FIRST, sequence=2)


def test_a_chain_whose_bundle_before_was_exchanged_is_cut() -> None:
    with pytest.raises(EvidenceRefused, match="cut chain"):
        judge(SECOND, previous=FIRST)


def test_a_chain_whose_bundle_before_is_of_another_environment_is_cut() -> None:
    other = HONEST.model_copy(
        update={
            "predicate": HONEST.predicate.model_copy(
                update={"release": HONEST.predicate.release.model_copy(update={"environment": "sandbox"})}
            )
        }
    )
    before = verify(seal(other, SIGNER), SIGNER.public_key, now=NOW)
    after = verify(seal(a_proof(replaces=before.sha256, sequence=2), SIGNER), SIGNER.public_key, now=NOW)
    with pytest.raises(EvidenceRefused, match="another model or environment"):
        check_chain(after, before)


def honest() -> Iterator[tuple[int, Statement, Statement]]:
    """Fifty releases, each with the one that replaces it."""
    for seed in range(50):
        first = a_proof(seed)
        sha = verify(seal(first, SIGNER), SIGNER.public_key, now=NOW).sha256
        yield seed, first, a_proof(seed, replaces=sha, sequence=2, signed_at=AT + timedelta(days=2))


def test_fifty_honest_bundles_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    accepted, signing, verifying = 0, [], []
    for seed, first, second in honest():
        before = time.perf_counter()
        bodies = seal(first, SIGNER), seal(second, SIGNER)
        signing.append((time.perf_counter() - before) / 2)
        before = time.perf_counter()
        one, two = (verify(body, SIGNER.public_key, now=NOW) for body in bodies)
        check_chain(two, one)
        check_expected(two, expected_of(seed, sequence=2))
        verifying.append((time.perf_counter() - before) / 2)
        accepted += 1
    with capsys.disabled():
        print(f"\nevidence: sign {max(signing) * 1e3:.1f} ms, verify {max(verifying) * 1e3:.1f} ms at most")
    assert accepted == 50

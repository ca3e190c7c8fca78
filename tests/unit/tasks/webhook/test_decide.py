"""Whom a webhook of the hub is about, by payloads as its documentation has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.webhook.decide import Concerned, Followed, Malformed, decide, followed
from tests.support.builders import a_model

REPO = "some-user/some-repo"
KNOWN = (
    Followed("llama", REPO, "main"),
    Followed("llama-v1", REPO, "v1"),
    Followed("other", "some-user/other", "main"),
)
SHA, EARLIER = "575db8b7a51b6f85eb06eee540738584589f131c", "ce9a4674fa833a68d5a73ec355f0ea95eedd60b7"


def payload(*refs: tuple[str, str | None], scope: str = "repo.content", **repo: Any) -> bytes:
    """As docs/hub/webhooks.md of huggingface/hub-docs (00295c29) has it."""
    document: dict[str, Any] = {
        "event": {"action": "update", "scope": scope},
        "repo": {
            "type": "model",
            "name": REPO,
            "id": "6366c000a2abcdf2fd69a080",
            "private": False,
            "url": {
                "web": f"https://huggingface.co/{REPO}",
                "api": f"https://huggingface.co/api/models/{REPO}",
            },
            "headSha": SHA,
            "tags": ["license:other"],
            "owner": {"id": "61d2000c3c2083e1c08af22d"},
            **repo,
        },
        "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
    }
    if refs:
        document["updatedRefs"] = [{"ref": ref, "oldSha": EARLIER, "newSha": sha} for ref, sha in refs]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("body", "models", "why"),
    [
        (payload(("refs/heads/main", SHA)), ("llama",), ""),
        (payload(("refs/tags/v1", SHA)), ("llama-v1",), ""),
        (payload(("refs/heads/main", SHA), ("refs/tags/v1", SHA)), ("llama", "llama-v1"), ""),
        (payload(("refs/heads/main", SHA), scope="repo.content.files"), ("llama",), ""),
        (payload(("refs/heads/main", SHA), name="some-user/other"), ("other",), ""),
        (payload(("refs/pr/7", SHA)), (), "none of its updated references is main, v1"),
        (payload(("refs/heads/main", None)), (), "none of its updated references is main, v1"),
        (payload(), (), "none of its updated references is main, v1"),
        (payload(("refs/heads/main", SHA), scope="repo.config"), (), "repo.config changes no files"),
        (payload(("refs/heads/main", SHA), scope="discussion"), (), "discussion changes no files"),
        (payload(("refs/heads/main", SHA), name="a/b"), (), "no model follows the model a/b"),
        (payload(("refs/heads/main", SHA), type="dataset"), (), f"no model follows the dataset {REPO}"),
    ],
)
def test_a_payload_names_the_models_that_follow_what_moved(
    body: bytes, models: tuple[str, ...], why: str
) -> None:
    assert decide(body, KNOWN) == Concerned(models, why)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "body: Invalid JSON"),
        (b"\xff\xfe", "body: Invalid JSON"),
        (b"[]", "body: Input should be"),
        (b"{}", "event: Field required"),
        (
            b'{"event": {"scope": 7}, "repo": {"type": "model", "name": "a/b"}}',
            "event.scope: Input should be",
        ),
        (payload().replace(b'"name"', b'"called"'), "repo.name: Field required"),
        (payload(("refs/heads/main", SHA)).replace(b'"ref"', b'"at"'), "updatedRefs.0.ref: Field required"),
    ],
)
def test_what_is_no_payload_is_told(body: bytes, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        decide(body, KNOWN)


def test_only_models_with_source_follow_are_followed() -> None:
    follows = a_model(name="a", source={"repo": "x/y", "revision": "v2", "follow": True})
    assert followed([follows, a_model(name="b")]) == (Followed("a", "x/y", "v2"),)

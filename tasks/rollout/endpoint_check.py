"""Check a model's endpoint as a user meets it: closed without a key, the served name listed, a completion answered."""

from __future__ import annotations

from typing import Any

import httpx

from tasks.cloud.waiting import REAL, Time, until
from tasks.records.errors import RolloutFailed
from tasks.records.names import KEY_SECRET

ASK_AGAIN_SECONDS = 0.3


class GatewayCutOff(RolloutFailed):
    """The gateway answers 502, 503 or 504: it does not reach vLLM."""


class _Final(RolloutFailed):
    """Asking again cannot help."""


def check_endpoint(base_url: str, key: str, served_name: str, *, patience: float, time: Time = REAL) -> str:
    """Ask until `/v1/models` lists the name and one completion comes back; its text. Raises RolloutFailed.

    Routing may trail readiness by up to `patience` seconds: a new load balancer's name, its targets' health.
    """
    headers = {"Authorization": f"Bearer {key}"}
    last: RolloutFailed | httpx.HTTPError | None = None

    def ask() -> str | None:
        nonlocal last
        try:
            return _ask(http, base_url, headers, served_name)
        except _Final:
            raise
        except (RolloutFailed, httpx.HTTPError) as error:
            last = error
            return None

    def late() -> RolloutFailed:
        if isinstance(last, RolloutFailed):
            return last
        return RolloutFailed(
            "the gateway does not answer",
            evidence=[f"{base_url}: {type(last).__name__}: {last}"],
            next_command=f"curl -i {base_url}/models",
        )

    with httpx.Client(timeout=httpx.Timeout(30.0, connect=10.0)) as http:
        return until(ask, patience, late, time, every=ASK_AGAIN_SECONDS)


def _ask(http: httpx.Client, base_url: str, headers: dict[str, str], served_name: str) -> str:
    _without_key(http, base_url)
    _served_name(http.get(f"{base_url}/models", headers=headers), base_url, served_name)
    question = {
        "model": served_name,
        "messages": [{"role": "user", "content": "Say one word."}],
        "max_tokens": 8,
        "temperature": 0,
    }
    return _completion(http.post(f"{base_url}/chat/completions", headers=headers, json=question))


def _without_key(http: httpx.Client, base_url: str) -> None:
    answer = http.get(f"{base_url}/models")
    if answer.status_code not in (401, 403):
        kind = _Final if answer.status_code == 200 else RolloutFailed
        raise kind(
            f"the gateway answers {answer.status_code} to a request without a key, not 401",
            next_command=f"curl -i {base_url}/models",
        )


def _served_name(answer: httpx.Response, base_url: str, served_name: str) -> None:
    if answer.status_code in (502, 503, 504):
        raise GatewayCutOff(
            f"the gateway does not reach vLLM: it answers {answer.status_code}",
            evidence=[answer.text[:300]],
            next_command=f"curl -i {base_url}/models",
        )
    if answer.status_code != 200:
        raise RolloutFailed(
            f"/v1/models answers {answer.status_code}"
            + (": the gateway or vLLM does not take the API key" if answer.status_code == 401 else ""),
            evidence=[answer.text[:300]],
            next_command=f"kubectl get secret {KEY_SECRET}; the gateway and vLLM must have the same one",
        )
    names = [entry["id"] for entry in _entries(answer, "data", "/v1/models")]
    if served_name not in names:
        raise _Final(
            f"vLLM serves another name than {served_name}",
            evidence=[f"/v1/models lists {', '.join(names)}"],
            next_command="check --served-model-name in engine.extra_args",
        )


def _completion(answer: httpx.Response) -> str:
    if answer.status_code != 200:
        raise RolloutFailed(f"a chat completion answers {answer.status_code}", evidence=[answer.text[:300]])
    choice = _entries(answer, "choices", "a chat completion")[0]
    if not choice.get("finish_reason"):
        raise RolloutFailed("a chat completion came back unfinished", evidence=[answer.text[:300]])
    return str(choice["message"]["content"])


def _entries(answer: httpx.Response, key: str, what: str) -> list[dict[str, Any]]:
    """The list under `key` of a JSON answer, never empty. Raises RolloutFailed for an answer without it."""
    try:
        found: list[dict[str, Any]] = answer.json()[key]
    except (ValueError, KeyError, TypeError):
        found = []
    if not found:
        raise RolloutFailed(f"{what} answers 200 without {key}", evidence=[answer.text[:300]])
    return found

"""Check a model's endpoint as a user meets it: closed without a key, the served name listed, a question answered.

    SLIPWAY_API_KEY=… python -m tasks.rollout.endpoint_check INSTRUCTIONS.json

As a program it prints one line: {"answer": …}, or {"failed": {…}}. It runs in a plain Python image, in a Job in the cluster:
it imports the standard library and little of Slipway.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.cloud.plain_http import DIRECT, UNREACHABLE, Answer, Way, ask
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.abilities import FLAGS, Ability, ask_for, read_ability
from tasks.records.errors import RolloutFailed
from tasks.records.questions import NAMES, PATHS, NoAnswer, Route, question
from tasks.records.questions import read_answer as answer_in

ASK_AGAIN_SECONDS = 0.3
CONNECT_SECONDS = 10.0  # a policy that drops packets must not take up the patience
ANSWER_SECONDS = 30.0
ABILITY_SECONDS = 120.0  # reasoning takes a thousand tokens


@dataclass(frozen=True)
class Proving:
    """What is to be shown beside an answer. `abilities`: the parser of each; `adapters`: names of LoRA adapters, each asked once."""

    abilities: Mapping[Ability, str] = field(default_factory=dict)
    max_model_len: int = 8192
    adapters: Sequence[str] = ()


class GatewayCutOff(RolloutFailed):
    """The gateway answers 502, 503 or 504: it does not reach vLLM."""


class GatewayUnreached(RolloutFailed):
    """Nobody answers at the gateway's address."""


KINDS = {kind.__name__: kind for kind in (GatewayCutOff, GatewayUnreached, RolloutFailed)}


class _Final(RolloutFailed):
    """Asking again cannot help."""


def check_endpoint(
    base_url: str,
    key: str,
    served_name: str,
    *,
    route: Route = "chat",
    proving: Proving | None = None,
    patience: float,
    way: Way = DIRECT,
    time: Time = REAL,
) -> str:
    """Ask until `/v1/models` lists the name, `route` answers and each ability of `proving` shows; what was said.

    Raises RolloutFailed. Routing may trail readiness by up to `patience` seconds: a new load balancer's name, its targets' health.
    """
    headers = {"Authorization": f"Bearer {key}"}
    last: RolloutFailed | None = None

    def look() -> str | None:
        nonlocal last
        try:
            return _Asking(base_url, headers, way).all(served_name, route, proving or Proving())
        except _Final:
            raise
        except RolloutFailed as error:
            last = error
        except UNREACHABLE as error:
            last = GatewayUnreached(
                "the gateway does not answer",
                evidence=[f"{base_url}: {type(error).__name__}: {error}"],
                next_command=f"curl -i {base_url}/models",
            )
        return None

    def late() -> RolloutFailed:
        return last or RolloutFailed("the gateway was not asked")

    return until(look, patience, late, time, every=ASK_AGAIN_SECONDS)


@dataclass(frozen=True)
class _Asking:
    """One round of questions to an address."""

    base_url: str
    headers: Mapping[str, str]
    way: Way

    def all(self, served_name: str, route: Route, proving: Proving) -> str:
        _without_key(self.base_url, self.way)
        if self.base_url.startswith("https:"):
            _without_tls(self.base_url, self.way)
        _served_name(self._answer("/models", None, ANSWER_SECONDS), self.base_url, served_name)
        path = PATHS[route]
        first = self._answer(path, question(route, served_name), ANSWER_SECONDS)
        _reached(first, f"{self.base_url}/models")
        said = [_answered(route, first)]
        for ability, parser in proving.abilities.items():
            asked = ask_for(ability, parser, served_name, proving.max_model_len)
            answer = self._answer(PATHS["chat"], asked, ABILITY_SECONDS)
            said.append(_shown(ability, parser, answer))
        for adapter in proving.adapters:
            answer = self._answer(path, question(route, adapter), ANSWER_SECONDS)
            said.append(f"adapter {adapter} answers {_of_adapter(adapter, route, answer)!r:.40}")
        return "; ".join(said)

    def _answer(self, path: str, body: Mapping[str, Any] | None, seconds: float) -> Answer:
        return ask(f"{self.base_url}{path}", self.headers, body, seconds=seconds, way=self.way)


def _without_tls(base_url: str, way: Way) -> None:
    """Raises where the port of TLS answers plain HTTP too: keys would pass in the clear."""
    parts = urlsplit(base_url)
    plain = f"http://{parts.hostname}:{parts.port or 443}{parts.path}/models"
    try:
        answer = ask(plain, seconds=CONNECT_SECONDS, way=way)
    except UNREACHABLE:
        return
    # 400 is what a server of HTTPS says to HTTP
    if answer.status != 400:
        raise _Final(
            f"the gateway's load balancer answers plain HTTP: {answer.status}",
            next_command=f"curl -i {plain}; kubectl get service -A -o yaml",
        )


def _without_key(base_url: str, way: Way) -> None:
    answer = ask(f"{base_url}/models", seconds=CONNECT_SECONDS, way=way)
    if answer.status not in (401, 403):
        kind = _Final if answer.status == 200 else RolloutFailed
        raise kind(
            f"the gateway answers {answer.status} to a request without a key, not 401",
            next_command=f"curl -i {base_url}/models",
        )


def _reached(answer: Answer, url: str) -> None:
    """Raises GatewayCutOff. LiteLLM lists names without asking vLLM, and answers 500 in the words of OpenAI's client."""
    by_litellm = answer.status == 500 and "Connection error" in answer.text
    if answer.status in (502, 503, 504) or by_litellm:
        raise GatewayCutOff(
            f"the gateway does not reach vLLM: it answers {answer.status}",
            evidence=[answer.text[:300]],
            next_command=f"curl -i {url}",
        )


def _served_name(answer: Answer, base_url: str, served_name: str) -> None:
    _reached(answer, f"{base_url}/models")
    if answer.status != 200:
        raise RolloutFailed(
            f"/v1/models answers {answer.status}"
            + (": the gateway or vLLM does not take the API key" if answer.status == 401 else ""),
            evidence=[answer.text[:300]],
            next_command="slipway keys list -e ENVIRONMENT; kubectl get secret slipway-api-key is what vLLM takes",
        )
    names = [entry["id"] for entry in _entries(answer, "data", "/v1/models")]
    if served_name not in names:
        raise _Final(
            f"vLLM serves another name than {served_name}",
            evidence=[f"/v1/models lists {', '.join(names)}"],
            next_command="check --served-model-name in engine.extra_args",
        )


def _answered(route: Route, answer: Answer) -> str:
    if answer.status != 200:
        raise RolloutFailed(f"{NAMES[route]} answers {answer.status}", evidence=[answer.text[:300]])
    try:
        return answer_in(route, answer.json())
    except NoAnswer as wrong:
        raise RolloutFailed(str(wrong), evidence=[answer.text[:300]]) from wrong
    except ValueError:
        raise RolloutFailed(
            f"{NAMES[route]} answers 200 without JSON", evidence=[answer.text[:300]]
        ) from None


def _of_adapter(adapter: str, route: Route, answer: Answer) -> str:
    """What an adapter answers. Raises RolloutFailed also where another model answered for it."""
    if answer.status == 404:
        raise RolloutFailed(
            f"vLLM does not serve the adapter {adapter}",
            evidence=[answer.text[:300]],
            next_command="check engine.lora in the model's file",
        )
    said = _answered(route, answer)
    answered_by = answer.json().get("model")
    if answered_by != adapter:
        raise RolloutFailed(f"{answered_by} answers for the adapter {adapter}", evidence=[answer.text[:300]])
    return said


def _shown(ability: Ability, parser: str, answer: Answer) -> str:
    """What shows the ability. Without it the parser is not the model's: asking again cannot help."""
    if answer.status != 200:
        kind = _Final if answer.status == 400 else RolloutFailed
        what = "about an image" if ability == "image" else f"for a {ability}"
        remedy = "set images: false in the model's file where it is not to be asked about images"
        raise kind(
            f"a request {what} answers {answer.status}",
            evidence=[answer.text[:300]],
            next_command=remedy if ability == "image" else None,
        )
    try:
        return read_ability(ability, answer.json())
    except NoAnswer as wrong:
        if ability == "image":
            raise RolloutFailed(str(wrong), evidence=[answer.text[:300]]) from wrong
        raise _Final(
            f"{FLAGS[ability]}={parser}: {wrong}",
            evidence=[answer.text[:600]],
            next_command=f"check {FLAGS[ability]} in engine.extra_args: the parser is to be of the model's own format",
        ) from wrong
    except ValueError:
        raise RolloutFailed(
            f"a request for a {ability} answers 200 without JSON", evidence=[answer.text[:300]]
        ) from None


def _entries(answer: Answer, key: str, what: str) -> list[dict[str, Any]]:
    """The list under `key` of a JSON answer, never empty. Raises RolloutFailed for an answer without it."""
    try:
        found: list[dict[str, Any]] = answer.json()[key]
    except (ValueError, KeyError, TypeError):
        found = []
    if not found:
        raise RolloutFailed(f"{what} answers 200 without {key}", evidence=[answer.text[:300]])
    return found


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    key = os.environ["SLIPWAY_API_KEY"]
    try:
        answer = check_endpoint(
            given["base_url"],
            key,
            given["served_name"],
            route=given["route"],
            proving=Proving(given["abilities"], given["max_model_len"], given["adapters"]),
            patience=given["patience"],
            way=Way(given["connect_to"], given["authority"]),
        )
        said: dict[str, Any] = {"answer": answer}
    except RolloutFailed as error:
        kind = next(name for name in KINDS if isinstance(error, KINDS[name]))
        said = {
            "failed": {
                "kind": kind,
                "cause": error.cause,
                "evidence": error.evidence,
                "next_command": error.next_command,
            }
        }
    # a server may repeat what it was asked with
    print(json.dumps(said).replace(key, "…"), flush=True)


def read_answer(line: str) -> str:
    """The answer in a line that `main` printed. Raises the failure it tells of, ValueError."""
    said = json.loads(line)
    if failed := said.get("failed"):
        raise KINDS[failed["kind"]](
            failed["cause"], evidence=failed["evidence"], next_command=failed["next_command"]
        )
    return str(said["answer"])


if __name__ == "__main__":
    main()

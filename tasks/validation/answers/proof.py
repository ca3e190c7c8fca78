"""Ask a release its golden prompts, in a Job in the cluster or from here, and read what it answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.cloud import inside
from tasks.cloud.jobs import running
from tasks.cloud.kubernetes import Cluster
from tasks.records.answers import Answer, Answered, AnswersProof
from tasks.records.environment import Environment
from tasks.records.errors import ValidationFailed
from tasks.records.golden import Golden
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.questions import Route, Task
from tasks.records.redacted import redacted
from tasks.validation.answers.asking import TIMES, TRIES, AskingFailed, ask_all
from tasks.validation.answers.decide import check, numbers_of

MODULE = "tasks.validation.answers.asking"
DEFINITIONS = 1  # raised when agreement or drift are defined anew: reports from before are then not compared
ONE_ANSWER_SECONDS = 60.0
ASKED: Mapping[Task, Route] = {"generate": "chat", "embed": "embeddings", "score": "score"}
NOWHERE = {"base_url": ""}


def instructions_for(
    model: Model, proof: AnswersProof, prompts: Sequence[Golden], at: Mapping[str, str] = NOWHERE
) -> dict[str, Any]:
    """What the asking program is told. `at`: base_url, and how TLS reaches it. Pure."""
    route = ASKED[model.engine.task]
    return {
        # not said of a chat: the digest of what is asked is that of earlier reports
        **({} if route == "chat" else {"route": route}),
        **at,
        "served_name": model.name,
        "seed": proof.seed,
        "seconds": ONE_ANSWER_SECONDS,
        "prompts": [{"name": one.name, **_asked(one, proof, route)} for one in prompts],
    }


def _asked(one: Golden, proof: AnswersProof, route: Route) -> dict[str, Any]:
    if route == "embeddings":
        return {"input": one.prompt}
    if route == "score":
        return {"text_1": one.query, "text_2": list(one.documents)}
    return {
        "messages": one.said,
        "max_tokens": one.most(proof),
        "tools": list(one.tools),
        "response_format": one.response_format,
    }


def profile_of(model: Model, proof: AnswersProof, prompts: Sequence[Golden]) -> str:
    """Twelve hexadecimal digits over what makes two answers comparable: the prompts and how they are asked."""
    asked = instructions_for(model, proof, prompts)
    document = json.dumps([DEFINITIONS, asked], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def ask_here(instructions: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Ask from this process. Raises ValidationFailed."""
    lines: list[dict[str, Any]] = []
    try:
        ask_all(instructions, key, lines.append)
    except AskingFailed as error:
        raise unanswered(str(error), key) from None
    return lines


def ask_inside(
    cluster: Cluster,
    environment: Environment,
    model: Model,
    instructions: dict[str, Any],
    key: str,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Ask by a Job in the cluster. Raises ValidationFailed with what kept it from that."""
    told = {**instructions, **inside.asked_at(cluster, environment, model.name)}
    program = inside.Program.told(f"answers-{model.name}", MODULE, **told)
    longest = TIMES * len(instructions["prompts"]) * (ONE_ANSWER_SECONDS + 1) * TRIES
    with running(
        cluster, environment, model.name, program, seconds=longest, failed=ValidationFailed, say=reporter.say
    ) as job:
        return read_lines(job.wait(), key)


def read_lines(lines: Iterable[str], key: str) -> list[dict[str, Any]]:
    """The answers among the program's lines. Raises ValidationFailed where it did not end well."""
    said = [json.loads(line) for line in lines if line.startswith("{")]
    last = said[-1] if said else {}
    if "failed" in last:
        raise unanswered(str(last["failed"]), key)
    answers = [one for one in said if "turn" in one]
    if last.get("done") != len(answers):
        raise ValidationFailed("the golden prompts were not all answered", evidence=[json.dumps(last)[:300]])
    return answers


def unanswered(what: str, key: str) -> ValidationFailed:
    """A golden prompt got no answer that could be judged."""
    return ValidationFailed(
        "a golden prompt was not answered",
        evidence=[redacted(what.replace(key, "…") if key else what)],
        next_command="shorten the prompt of that name in the file of answers.prompts, or look at the engine's log",
    )


def answered_of(lines: Sequence[dict[str, Any]], prompts: Sequence[Golden]) -> list[Answered]:
    """Both answers to each prompt, and whether its check holds of the first. Raises ValidationFailed."""
    found: dict[str, dict[int, Answer]] = {}
    for line in lines:
        answer = Answer.model_validate({name: line[name] for name in Answer.model_fields if name in line})
        found.setdefault(line["name"], {})[line["turn"]] = answer
    if any(len(found.get(one.name, {})) != TIMES for one in prompts):
        raise ValidationFailed("the golden prompts were not all answered twice")
    for name, (first, second) in ((name, both.values()) for name, both in found.items()):
        if numbers_of(first) != numbers_of(second):
            raise ValidationFailed(
                f"golden prompt {name} was answered with {numbers_of(first)} numbers, then with {numbers_of(second)}"
            )
    return [
        Answered(
            name=one.name,
            answers=(found[one.name][0], found[one.name][1]),
            check=check(found[one.name][0], one.expect) if one.expect else None,
        )
        for one in prompts
    ]

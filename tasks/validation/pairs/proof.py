"""Ask the release that serves and a new one in pairs, by a Job in the cluster, and judge what came back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tasks.cloud import inside
from tasks.cloud.jobs import running
from tasks.cloud.kubernetes import Cluster
from tasks.records.answers import AnswersProof, AnswersReport
from tasks.records.environment import Environment
from tasks.records.errors import ValidationFailed
from tasks.records.golden import Golden
from tasks.records.model import Model
from tasks.records.pairs import PAIR_SECONDS, Paired, PairSettings
from tasks.records.progress import Reporter
from tasks.validation.answers import decide as answers
from tasks.validation.answers.asking import TIMES
from tasks.validation.answers.proof import ONE_ANSWER_SECONDS, answered_of, instructions_for, read_lines
from tasks.validation.pairs.asking import SIDES
from tasks.validation.pairs.decide import judge, shift_of
from tasks.validation.pairs.interval import FACTORS

MODULE = "tasks.validation.pairs.asking"
# two answers of two releases to each come back in the last hundred lines of a Job's log
MOST_PROMPTS = 24


def pair_instructions(
    model: Model,
    proof: AnswersProof,
    settings: PairSettings,
    prompts: Sequence[Golden],
    before: Sequence[str],
    now: Sequence[str],
) -> dict[str, Any]:
    """What the asking program is told: as many rounds as `settings.count` pairs take, and twice and four times as many. Pure."""
    asked = prompts[:MOST_PROMPTS]
    rounds = [max(TIMES - 1, math.ceil(settings.count * factor / len(asked))) for factor in FACTORS]
    return {
        **instructions_for(model, proof, asked),
        "before": list(before),
        "now": list(now),
        "rounds": rounds,
        "slower": settings.slower,
        "budget": PAIR_SECONDS / 2,
    }


def ask_pairs(
    cluster: Cluster,
    environment: Environment,
    model: Model,
    told: dict[str, Any],
    key: str,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Ask the pods themselves by a Job in the cluster. Raises ValidationFailed with what kept it from that."""
    program = inside.Program.told(f"pairs-{model.name}", MODULE, **told).asking_pods()
    asked = len(SIDES) * len(told["prompts"]) * (told["rounds"][-1] + 1)
    with running(
        cluster,
        environment,
        model.name,
        program,
        seconds=min(PAIR_SECONDS, asked * ONE_ANSWER_SECONDS),
        failed=ValidationFailed,
        say=reporter.say,
    ) as job:
        return read_lines(job.wait(), key)


def judge_pairs(
    lines: Sequence[dict[str, Any]],
    model: Model,
    settings: PairSettings,
    prompts: Sequence[Golden],
    release: str,
    at: datetime,
) -> Paired:
    """The verdict on speed, and on answers where the model's file asks for a proof of them. Pure."""
    prompts = prompts[:MOST_PROMPTS]
    timed = {(one["name"], one["side"]): one["seconds"] for one in lines if "seconds" in one}
    before, now = ([second for one in prompts for second in timed[one.name, side]] for side in SIDES)
    shift = shift_of(before, now)
    verdict, why = judge(shift, settings, release)
    said = [why]
    older, newer = (answered_of([one for one in lines if one["side"] == side], prompts) for side in SIDES)
    proof = model.answers or AnswersProof()
    then = answers.judge(older, proof, "pairs", None, at)
    found: AnswersReport = answers.judge(newer, proof, "pairs", (release, then), at)
    if model.answers and found.verdict == "FAIL":
        verdict, said = "FAIL", [*found.reasons, why]
    elif found.verdict == "PASS":
        said.append(found.reasons[0])
    return Paired(
        verdict=verdict,
        reasons=tuple(said),
        against=release,
        time=shift,
        likeness=found.likeness,
        noise=found.noise,
    )


def paired_rows(paired: Paired) -> list[dict[str, str]]:
    """What changed, by how much, and how sure that is, as rows of a table. Pure."""
    time = paired.time
    rows = [
        {
            "figure": "time of an answer",
            "change": f"{time.estimate:+.1%}" if time else "",
            "how sure": f"{time.low:+.1%} to {time.high:+.1%}" if time else "not told",
        }
    ]
    if paired.likeness and paired.noise:
        rows += [
            {
                "figure": "answers that are the same",
                "change": f"{paired.likeness.agreement:.1%}",
                "how sure": f"with itself {paired.noise.agreement:.1%}",
            },
            {
                "figure": "drift",
                "change": f"{paired.likeness.drift:.3g}",
                "how sure": f"with itself {paired.noise.drift:.3g}",
            },
        ]
    return rows

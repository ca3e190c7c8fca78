"""A report of answers in lines for a log and rows for a table."""

from __future__ import annotations

from tasks.records.answers import Answer, AnswersReport
from tasks.records.progress import Reporter
from tasks.validation.answers.decide import agreement, drift, unpacked


def tell_answers(report: AnswersReport, reporter: Reporter) -> None:
    """Say the verdict, what decided it, and whether the release is deterministic."""
    for reason in report.reasons:
        reporter.say(f"{report.verdict}: {reason}")
    if not report.deterministic:
        reporter.say(_noise(report))


def _noise(report: AnswersReport) -> str:
    """How far a release that does not repeat itself is from itself."""
    same, apart = f"{report.noise.agreement:.1%}", f"{report.noise.drift:.3g}"
    if report.measure == "nats":
        return (
            f"not deterministic at temperature 0: asked twice, it repeated {same} of its tokens, "
            f"and its log-probabilities differed by {apart} nats"
        )
    what = "vectors" if report.measure == "cosine" else "scores"
    return f"not deterministic: asked twice, it repeated {same} of its {what}, and they were {apart} apart"


def answers_table(report: AnswersReport, before: AnswersReport | None) -> list[dict[str, str]]:
    """A row a prompt: likeness with itself and with `before`, its check, the beginning of the answer."""
    older = {one.name: one for one in before.answered} if before else {}
    far = {"nats": "drift (nats)", "cosine": "cosine distance", "score": "difference"}[report.measure]
    rows = []
    for one in report.answered:
        first, again = one.answers
        was = older.get(one.name)
        rows.append(
            {
                "prompt": one.name,
                "as the proven release": f"{agreement(first, was.answers[0]):.0%}" if was else "",
                far: f"{drift(first, was.answers[0]):.3g}" if was else "",
                "as itself": f"{agreement(first, again):.0%}",
                "check": {None: "", "": "holds"}.get(one.check, one.check or ""),
                "answer": _beginning(first),
            }
        )
    return rows


def _beginning(answer: Answer) -> str:
    if answer.vector:
        return f"a vector of {len(unpacked(answer.vector))} numbers"
    if answer.scores:
        return " ".join(f"{score:.3g}" for score in answer.scores[:8])
    return answer.text[:60].replace("\n", " ")

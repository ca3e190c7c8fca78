"""A report of answers in lines for a log and rows for a table."""

from __future__ import annotations

from tasks.records.answers import AnswersReport
from tasks.records.progress import Reporter
from tasks.validation.answers.decide import agreement, drift


def tell_answers(report: AnswersReport, reporter: Reporter) -> None:
    """Say the verdict, what decided it, and whether the release is deterministic."""
    for reason in report.reasons:
        reporter.say(f"{report.verdict}: {reason}")
    if not report.deterministic:
        reporter.say(
            f"not deterministic at temperature 0: asked twice, it repeated {report.noise.agreement:.1%} of its tokens, "
            f"and its log-probabilities differed by {report.noise.drift:.3g} nats"
        )


def answers_table(report: AnswersReport, before: AnswersReport | None) -> list[dict[str, str]]:
    """A row a prompt: likeness with itself and with `before`, its check, the beginning of the answer."""
    older = {one.name: one for one in before.answered} if before else {}
    rows = []
    for one in report.answered:
        first, again = one.answers
        was = older.get(one.name)
        rows.append(
            {
                "prompt": one.name,
                "as the proven release": f"{agreement(first, was.answers[0]):.0%}" if was else "",
                "drift (nats)": f"{drift(first, was.answers[0]):.3g}" if was else "",
                "as itself": f"{agreement(first, again):.0%}",
                "check": {None: "", "": "holds"}.get(one.check, one.check or ""),
                "answer": first.text[:60].replace("\n", " "),
            }
        )
    return rows

"""Load validation as a Prefect task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.cloud import load_balancer
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.objects import read_key
from tasks.cloud.plain_http import at_url
from tasks.records.answers import AnswersProof, AnswersReport
from tasks.records.catalogue import project_root
from tasks.records.errors import ValidationFailed
from tasks.records.golden import read_golden
from tasks.records.load import Load
from tasks.records.model import Model
from tasks.records.names import KEY_SECRET, OWN_KEY_SECRET
from tasks.records.pairs import Paired, PairSettings
from tasks.records.progress import Reporter
from tasks.records.reports import LoadPage, LoadReport, MeasureFrom, Sweep
from tasks.records.results import Endpoint
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table, task
from tasks.validation.answers.decide import judge
from tasks.validation.answers.proof import answered_of, ask_here, ask_inside, instructions_for, profile_of
from tasks.validation.answers.summary import answers_table, tell_answers
from tasks.validation.compare import compare, with_comparison
from tasks.validation.in_cluster import check_size, prove_inside
from tasks.validation.page import page
from tasks.validation.pairs.proof import ask_pairs, judge_pairs, pair_instructions, paired_rows
from tasks.validation.proof import profile, prove, sources
from tasks.validation.reuse import still_proven
from tasks.validation.summary import table, tell
from tasks.validation.sweep import conclude, rows, search, sweepable


@task(task_run_name="load of {model.name} can be read", **SETTINGS)
def check_load(model: Model, measure_from: MeasureFrom = "cluster") -> str:
    """Read the load's files and describe the load. Raises InvalidDocument with file and line, InputError for large files."""
    trace, prompts = sources(model, project_root())
    if measure_from == "cluster":
        check_size(model, project_root())
    if model.answers:
        read_golden(model.answers, project_root(), model.engine.task)
    what = [f"{len(trace)} rows of a trace"] * bool(trace) + [f"{len(prompts)} prompts"] * bool(prompts)
    return ": ".join([str(model.load), *what])


def ask_beside(site: Site, model: Model, before: Sequence[str], now: Sequence[str], release: str) -> Paired:
    """Ask two releases in pairs, by their pods' base URLs, before traffic moves; what the new one is beside `release`.

    Called within a rollout. Raises ValidationFailed where it is slower, or answers otherwise, than the model's file allows.
    """
    reporter, settings = RunReporter("pairs"), model.rollout.pairs or PairSettings()
    proof = model.answers or AnswersProof()
    prompts = read_golden(proof, project_root(), model.engine.task)
    cluster = site.cluster()
    told = pair_instructions(model, proof, settings, prompts, before, now)
    reporter.say(
        f"{len(told['prompts'])} prompts, {told['rounds'][0]} times each, of release {release} and the new one in turn"
    )
    key = read_key(cluster, site.namespace, KEY_SECRET)
    lines = ask_pairs(cluster, site.environment, model, told, key, reporter)
    paired = judge_pairs(lines, model, settings, prompts, release, datetime.now(UTC))
    for reason in paired.reasons:
        reporter.say(f"{paired.verdict}: {reason}")
    show_table(f"pairs-{model.name}", paired_rows(paired), f"{paired.verdict}: {model.name} beside {release}")
    if paired.verdict == "FAIL":
        raise ValidationFailed(
            f"pairs of {model.name}: FAIL: {paired.reasons[0]}",
            evidence=paired.reasons[1:],
            next_command="look at the pairs' table in the run; what served before still serves",
        )
    return paired


def check_sweepable(model: Model) -> None:
    """Raises InputError for a load that has no rate to change."""
    sweepable(model)


@task(task_run_name="load validation of {model.name}", **SETTINGS)
def validate(
    site: Site,
    model: Model,
    release: ReleaseRecord,
    before: tuple[str, LoadReport] | None = None,
    again: bool = True,
    measure_from: MeasureFrom = "cluster",
) -> LoadReport:
    """Run the model's load against the release, through the gateway; the report has a verdict.

    Args:
        site: Where the release serves.
        model: The model's file.
        release: What is measured.
        before: The release proven last and its report, which this one must not be worse than.
        again: False returns the last report where it is of this very release, load and objectives.
        measure_from: Where the generator runs: in a Job in the cluster, or here.
    """
    reporter, model = RunReporter("validation"), model.asked_by(release.endpoint.route)
    digest = profile(model, project_root(), measure_from)
    if not again and before and still_proven(release.release.id, before, digest, model.objectives):
        reporter.say(
            f"release {before[0]} is proven under this load since {before[1].started_at:%Y-%m-%d %H:%M} UTC: "
            "not measured again (--revalidate does)"
        )
        return before[1]
    measured = _measured(site, model, release, reporter, measure_from)
    before_id, last = before or (None, None)
    comparison = compare(measured, last, model.objectives.regression, before_id)
    report = with_comparison(measured, comparison)
    tell(report, reporter)
    show_table(f"load-report-{model.name}", table(report), f"{report.verdict}: {model.name} on {site.name}")
    return report


@task(task_run_name="answers of {model.name}", **SETTINGS)
def prove_answers(
    site: Site,
    model: Model,
    release: ReleaseRecord,
    again: bool = True,
    measure_from: MeasureFrom = "cluster",
) -> AnswersReport | None:
    """Ask the release its golden prompts twice, and hold the answers against the proven release's; None without `answers`.

    `again`: False returns the last answers where they are of this very release, prompts and settings.
    """
    if model.answers is None:
        return None
    proof, reporter = model.answers, RunReporter("answers")
    prompts = read_golden(proof, project_root(), model.engine.task)
    profile = profile_of(model, proof, prompts)
    before = ledger_of(site, model).last_answers()
    if not again and before and (before[0], before[1].profile) == (release.release.id, profile):
        reporter.say(f"release {before[0]} has answered these prompts: not asked again (--revalidate does)")
        return before[1]
    key = api_key(site.cluster(), release.endpoint)
    way = load_balancer.way_to(site.environment, release.endpoint.connect_to)
    instructions = instructions_for(model, proof, prompts, at_url(release.endpoint.base_url, way))
    if measure_from == "here":
        lines = ask_here(instructions, key)
    else:
        lines = ask_inside(site.cluster(), site.environment, model, instructions, key, reporter)
    report = judge(answered_of(lines, prompts), proof, profile, before, datetime.now(UTC))
    tell_answers(report, reporter)
    show_table(
        f"answers-{model.name}",
        answers_table(report, before[1] if before and report.against else None),
        f"{report.verdict}: answers of {model.name} on {site.name}",
    )
    return report


@task(task_run_name="page of {model.name}", **SETTINGS)
def draw_page(
    model: Model, release: ReleaseRecord, report: LoadReport | None, swept: tuple[str, Sweep] | None
) -> LoadPage:
    """The report as one self-contained page, and as JSON. `swept`: the release that was swept, and the sweep."""
    return page(release.release, model.objectives, report, swept)


@task(task_run_name="knee of {model.name}", **SETTINGS)
def find_knee(
    site: Site,
    model: Model,
    release: ReleaseRecord,
    replicas: int,
    budget: float,
    step_seconds: float,
    measure_from: MeasureFrom = "cluster",
) -> Sweep:
    """Try one rate after another on what serves, through the gateway. Changes nothing."""

    def measure(load: Load) -> LoadReport:
        one_rate = model.model_copy(update={"load": load}).asked_by(release.endpoint.route)
        return _measured(site, one_rate, release, RunReporter("sweep"), measure_from)

    return search(
        model, measure, RunReporter("sweep"), replicas=replicas, budget=budget, step_seconds=step_seconds
    )


@task(task_run_name="what the sweep of {model.name} tells", **SETTINGS)
def read_knee(site: Site, model: Model, sweep: Sweep, replicas_after: int) -> Sweep:
    """Find the knee and the settings it proposes, or why there is none."""
    concluded = conclude(sweep, replicas_after)
    outcome = (
        f"refused: {concluded.refused}" if concluded.refused else f"the knee is at {concluded.knee:.3g}/s"
    )
    reporter = RunReporter("sweep")
    reporter.say(outcome)
    if concluded.why:
        reporter.say(concluded.why)
    show_table(f"sweep-{model.name}", rows(concluded), f"{model.name} on {site.name}: {outcome}")
    return concluded


def _measured(
    site: Site, model: Model, release: ReleaseRecord, reporter: Reporter, measure_from: MeasureFrom
) -> LoadReport:
    """Put the model's load on the gateway from where it is asked to be, and judge it."""
    endpoint, cluster = release.endpoint, site.cluster()
    key = api_key(cluster, endpoint)
    if measure_from == "here":
        way = load_balancer.way_to(site.environment, endpoint.connect_to)
        return prove(model, endpoint, key, reporter, root=project_root(), way=way)
    return prove_inside(cluster, site.environment, model, key, reporter, root=project_root())


def api_key(cluster: Cluster, endpoint: Endpoint) -> str:
    """Read Slipway's own API key. Raises ClusterError.

    Not from the Secret that the endpoint names: in older ledgers it is the one of vLLM's key.
    """
    return read_key(cluster, endpoint.key_namespace, OWN_KEY_SECRET)

"""One page about evidence that was verified, as Markdown. Pure."""

from __future__ import annotations

from tasks.evidence.statement import MODEL
from tasks.evidence.verify import Verified
from tasks.releases.records import Made

UNKNOWN = "not recorded"


def page(found: Verified, signer: str) -> str:
    """What was signed, by which key, and what proved it. `signer`: the id of the key it was verified with."""
    evidence = found.evidence
    release, report = evidence.release, evidence.report
    files = [subject for subject in found.statement.subject if subject.name.startswith(MODEL)]
    others = [subject for subject in found.statement.subject if not subject.name.startswith(MODEL)]
    pinned = "" if "@sha256:" in release.image else " (a tag, which can move)"
    engine = release.engine.model_dump(mode="json", exclude={"image"}, exclude_defaults=True)
    came = evidence.promoted_from
    rows = {
        "model": f"{release.repo} at commit {release.commit}",
        "environment": release.environment,
        "release": release.id,
        "image": release.image + pinned,
        "engine flags": ", ".join(f"{name}={value}" for name, value in engine.items()) or "defaults",
        "load validation": f"{report.verdict}: {report.succeeded} of {report.requests} requests at "
        f"{report.achieved_rate:.1f}/s, {report.started_at:%Y-%m-%d %H:%M} UTC",
        "objectives": "; ".join(
            f"{one.name} {one.measured:.4g} (bound {one.bound:.4g})"
            for one in report.objectives
            if one.measured is not None
        )
        or "none",
        "answers": f"{evidence.answers.verdict}: {evidence.answers.reasons[0]}"
        if evidence.answers
        else "not asked",
        "pairs": f"{evidence.paired.verdict}: {evidence.paired.reasons[0]}"
        if evidence.paired
        else "not asked",
        **_made(evidence.made),
        "catalogue commit": evidence.catalogue_commit or UNKNOWN,
        "approved": str(evidence.approval) if evidence.approval else "nobody was asked",
        "run by": evidence.approved_by,
        "promoted from": f"{came.environment}, evidence {came.evidence_sha256}" if came else "nothing",
        "signed": f"{evidence.signed_at:%Y-%m-%d %H:%M} UTC by Slipway {evidence.slipway_version}",
        "key": signer,
        "evidence": f"number {evidence.sequence}, sha256 {found.sha256}",
        "beside it": ", ".join(f"{name} {sha256}" for name, sha256 in evidence.beside.items()) or "nothing",
        "replaces": evidence.replaces or "nothing: the first",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    listed = "\n".join(f"| {one.name} | {one.digest['sha256']} |" for one in [*others, *files])
    return (
        f"## Evidence of {release.model} in {release.environment}\n\n| | |\n|---|---|\n{table}\n\n"
        f"{_preflight(evidence.made)}"
        f"{len(files)} model files:\n\n| subject | sha256 |\n|---|---|\n{listed}"
    )


def _made(made: Made | None) -> dict[str, str]:
    if made is None:
        return dict.fromkeys(("preflight", "terraform plans", "price", "engine version"), UNKNOWN)
    warned = sum(row.status == "warn" for row in made.preflight)
    return {
        "preflight": f"{len(made.preflight)} checks, {warned} of them warnings, {made.judged_at:%Y-%m-%d %H:%M} UTC",
        "terraform plans": ", ".join(f"{stack}: {plan}" for stack, plan in sorted(made.plans.items())),
        "price": f"{made.price}, on {made.judged_at:%Y-%m-%d}",
        "engine version": made.engine_version or "not in the image's name",
    }


def _preflight(made: Made | None) -> str:
    if made is None:
        return ""
    rows = "\n".join(
        f"| {row.check} | {row.status} | {row.detail.replace('|', ' ')} |" for row in made.preflight
    )
    return f"Preflight:\n\n| check | status | detail |\n|---|---|---|\n{rows}\n\n"

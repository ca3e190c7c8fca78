"""What the command line prints of each flow's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.endpoint import Reachable
from flows.run.outcomes import OUTCOMES, Outcome, verdict
from flows.teardown import TornDown
from tasks.records.errors import ValidationFailed
from tasks.records.reports import Sweep
from tasks.records.results import Endpoint, Feasibility, IdleDecision, PreflightRow
from tasks.records.status import EnvironmentStatus
from tasks.releases.records import Deployed
from tests.support.releases import a_record, a_rollout
from tests.support.reports import AT, a_run
from tests.support.sweeps import GOOD

GIVEN = {"model": "llama", "environment": "staging"}
RECORD = a_record(1)
IDLE = IdleDecision(act=True, reason="no request for 30 min", evidence=())
DRIFT = {"stack": "cluster", "action": "update", "resource": "aws_eks_cluster.this"}


@pytest.mark.parametrize(
    ("flow", "result", "given", "last", "code"),
    [
        (
            "deploy",
            Deployed(record=RECORD),
            {},
            f"llama in staging: release {RECORD.release.id} is proven",
            0,
        ),
        (
            "promote",
            Deployed(record=RECORD),
            {},
            f"llama in staging: release {RECORD.release.id} is proven",
            0,
        ),
        ("rollback", "0123", {"unfinished": False}, "llama in staging: 0123 serves", 0),
        ("rollback", None, {"unfinished": False}, "llama in staging: nothing serves", 0),
        ("rollback", None, {"unfinished": True}, "llama in staging: nothing was put back", 0),
        ("rollback", "0123", {"unfinished": True}, "llama in staging: 0123 serves", 0),
        ("scale_down", IDLE, {}, "llama in staging: scaled to zero: no request for 30 min", 0),
        ("recover", [], {}, "no rollout is unfinished", 0),
        ("recover", ["llama in staging: 0123 serves"], {}, "llama in staging: 0123 serves", 0),
        (
            "scale_down",
            IDLE.model_copy(update={"act": False, "reason": "in use"}),
            {},
            "llama in staging: left: in use",
            0,
        ),
        ("wake", " hi\n", {}, r"llama in staging answers: ' hi\n'", 0),
        ("teardown", TornDown(removed=["x"], remaining=[]), {}, "staging: nothing is left", 0),
        ("teardown", TornDown(removed=[], remaining=["s3 models"]), {}, "s3 models", 0),
        (
            "status",
            [EnvironmentStatus(environment="staging", at=AT)],
            {},
            "staging: no model has a release",
            0,
        ),
        ("drift", [], {}, "staging: 0 resources differ", 0),
        ("drift", [DRIFT], {}, "staging: 1 resources differ", 5),
    ],
)
def test_the_last_line_tells_the_result(
    flow: str, result: Any, given: dict[str, Any], last: str, code: int
) -> None:
    outcome = OUTCOMES[flow](result, {**GIVEN, **given})
    assert outcome.lines[-1] == last
    assert outcome.exit_code == code


def test_a_proven_release_is_shown_with_its_figures() -> None:
    record = RECORD.model_copy(update={"report": a_run(1), "rollout": a_rollout(RECORD.release)})
    outcome = OUTCOMES["deploy"](Deployed(record=record, page="s3://b/p.html", cost="1.5 USD an hour"), GIVEN)
    lines = outcome.lines
    assert lines[0].startswith("  load validation: PASS: 400 of 400 requests at 10.0/s, ")
    assert "first token p50 " in lines[1]
    assert [line.split(maxsplit=1) for line in lines[2:-1]] == [
        ["cost", "1.5 USD an hour"],
        ["page", "s3://b/p.html"],
        ["endpoint", "http://gateway/v1"],
        ["release", f"r0 → {RECORD.release.id}"],
    ]
    assert outcome.next_command == "slipway endpoint llama -e staging"


def test_each_resource_that_differs_has_a_line() -> None:
    assert OUTCOMES["drift"]([DRIFT], GIVEN).lines[0] == "cluster  update   aws_eks_cluster.this"


def test_a_sweep_tells_the_settings_that_follow() -> None:
    sweep = Sweep(
        started_at=AT, replicas=2, steps=tuple(GOOD), knee=12.345, requests_per_replica=5, max_num_seqs=32
    )
    assert OUTCOMES["sweep"](sweep, GIVEN).lines == [
        "llama in staging: objectives hold up to 12.3 requests a second",
        "  scaling.requests_per_replica: 5",
        "  engine.max_num_seqs: 32",
    ]


def test_a_knee_that_cannot_be_told_is_an_error_of_the_load() -> None:
    sweep = Sweep(started_at=AT, replicas=2, steps=tuple(GOOD), refused="too few steps")
    with pytest.raises(ValidationFailed, match="cannot be told: too few steps") as refused:
        OUTCOMES["sweep"](sweep, {**GIVEN, "step_seconds": 60.0})
    assert refused.value.exit_code == 4
    assert refused.value.next_command == "slipway sweep llama -e staging --step-seconds 120"


def test_an_endpoint_is_told_with_a_request_to_try_and_without_its_key() -> None:
    endpoint = Endpoint(base_url="http://gw/v1", served_name="llama", key_namespace="llm", key_secret="key")
    text = "\n".join(OUTCOMES["endpoint"](Reachable(endpoint, Path(".slipway/keys/staging")), GIVEN).lines)
    assert "curl -s http://gw/v1/chat/completions" in text
    assert "$(cat .slipway/keys/staging)" in text
    assert '"model": "llama"' in text


def test_with_tls_the_record_to_make_is_told_and_the_request_works_before_it_is_there() -> None:
    endpoint = Endpoint(
        base_url="https://models.example.com/llama/v1",
        served_name="llama",
        key_namespace="llm",
        key_secret="key",
        connect_to="lb.test",
    )
    lines = OUTCOMES["endpoint"](Reachable(endpoint, Path("key"), "ca.pem"), GIVEN).lines
    assert any("models.example.com CNAME lb.test" in line for line in lines)
    asked = (
        "curl -s --connect-to models.example.com:443:lb.test:443 --cacert ca.pem https://models.example.com/"
    )
    assert any(asked in line for line in lines)


def test_an_embedding_model_is_shown_without_tokens_and_tried_by_its_own_route() -> None:
    report = a_run(1).model_copy(update={"route": "embeddings"})
    text = "\n".join(verdict(report))
    assert "400 of 400 requests to /v1/embeddings at 10.0/s" in text
    assert "end to end p50 " in text
    assert "output tokens: none" in text
    assert "first token" not in text
    endpoint = Endpoint(
        base_url="http://gw/v1", served_name="e5", key_namespace="llm", key_secret="key", route="embeddings"
    )
    lines = OUTCOMES["endpoint"](Reachable(endpoint, Path("key")), GIVEN).lines
    assert "curl -s http://gw/v1/embeddings" in lines[1]
    assert '"input"' in lines[-1]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 3)])
@pytest.mark.parametrize("explain", [True, False])
def test_a_preflight_is_told_row_by_row(status: Any, code: int, explain: bool) -> None:
    row = PreflightRow(check="GPU memory", status=status, detail="full", next_command="take another")
    outcome = OUTCOMES["preflight"](
        Feasibility(rows=(row,), explanation="a sum"), {**GIVEN, "explain": explain}
    )
    assert outcome.exit_code == code
    assert outcome.lines[0].split() == [status, "GPU", "memory", "full"]
    assert outcome.lines[1].strip() == "next: take another"
    assert ("a sum" in outcome.lines) is explain


def test_rendered_manifests_are_one_stream_of_yaml_in_their_own_order() -> None:
    documents = [{"kind": "Namespace", "apiVersion": "v1"}, {"kind": "Job", "apiVersion": "batch/v1"}]
    outcome = OUTCOMES["render"](documents, GIVEN)
    assert isinstance(outcome, Outcome)
    [text] = outcome.lines
    assert list(yaml.safe_load_all(text)) == documents
    assert text.startswith("---\nkind: Namespace\n")

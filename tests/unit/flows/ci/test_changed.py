"""Which models on which environments a change touches."""

from __future__ import annotations

import pytest

from flows.ci.changed import Pair, touched
from tasks.records.catalogue import load_environment, load_model
from tasks.records.environment import Environment
from tasks.records.model import Model
from tests.support.builders import ROOT

TINY, LLAMA = load_model("tiny-llama", ROOT), load_model("llama-3-1-8b-instruct", ROOT)
STAGING, SANDBOX = load_environment("staging", ROOT), load_environment("sandbox", ROOT)
ALL = ["llama staging", "llama sandbox", "tiny staging", "tiny sandbox"]


def with_prompts(model: Model) -> Model:
    return model.model_copy(update={"load": model.load.model_copy(update={"prompts": "loads/chat.jsonl"})})


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ([], []),
        (["README.md", "flows/deploy.py", "docs/ci.md"], []),
        (["models/tiny-llama.yaml"], ["tiny staging", "tiny sandbox"]),
        (["environments/staging.yaml"], ["llama staging", "tiny staging"]),
        (["models/tiny-llama.yaml", "environments/staging.yaml"], ["llama staging", "tiny staging", "tiny sandbox"]),
        # a file that is gone
        (["models/gone.yaml", "environments/gone.yaml"], []),
        (["models/README.md", "models/tiny-llama.yaml.orig", "old/models/tiny-llama.yaml"], []),
        # what a model's file names
        (["loads/chat.jsonl"], ["llama staging", "llama sandbox"]),
        (["loads/other.jsonl"], []),
        # what an environment's file names: a folder of charts
        (["sandbox/charts/keda/Chart.yaml"], ["llama sandbox", "tiny sandbox"]),
        (["sandbox/charts2/keda/Chart.yaml"], []),
        # what every deploy applies
        (["k8s/gateway/nginx.conf"], ALL),
        (["infra/terraform/cluster/nodes.tf"], ALL),
        (["infra/terraform/ci/main.tf", "infra/iam/slipway-run.json"], []),
    ],
)  # fmt: skip
def test_a_pair_is_touched_by_what_its_deploy_reads(changed: list[str], found: list[str]) -> None:
    short = {"tiny-llama": "tiny", "llama-3-1-8b-instruct": "llama"}
    pairs = touched(changed, [with_prompts(LLAMA), TINY], [STAGING, SANDBOX])
    assert [f"{short[pair.model]} {pair.environment}" for pair in pairs] == found


def test_no_pair_is_named_twice() -> None:
    models, environments = [TINY], [STAGING]
    assert touched(
        ["models/tiny-llama.yaml", "k8s/a", "environments/staging.yaml"], models, environments
    ) == [Pair("tiny-llama", "staging")]


def test_nothing_is_touched_where_there_is_nothing() -> None:
    nothing: list[Environment] = []
    assert touched(["k8s/a"], [TINY], nothing) == []

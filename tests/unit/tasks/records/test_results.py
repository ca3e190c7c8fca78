from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.model import Engine
from tasks.records.progress import Pace
from tasks.records.results import HubFile, HubModel, Release
from tests.support.builders import COMMIT, a_model, an_environment
from tests.support.canned import a_staged


def a_release(**over: Any) -> Release:
    base: dict[str, Any] = {
        "model": "llama",
        "environment": "staging",
        "repo": "a/b",
        "commit": COMMIT,
        "image": "vllm/vllm-openai:v0.32.0",
        "engine": Engine(),
        "manifests_sha256": "aa",
    }
    return Release.model_validate(base | over)


def test_the_same_release_has_the_same_id() -> None:
    assert a_release().id == a_release().id
    assert len(a_release().id) == len(a_release().bundle) == 12


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "f" * 40},
        {"image": "vllm/vllm-openai:v0.33.0"},
        {"engine": Engine(max_num_seqs=7)},
        {"model": "other"},
        {"repo": "a/c"},
    ],
)
def test_what_is_promoted_changes_id_and_bundle(change: dict[str, Any]) -> None:
    assert a_release(**change).id != a_release().id
    assert a_release(**change).bundle != a_release().bundle


@pytest.mark.parametrize("change", [{"environment": "production"}, {"manifests_sha256": "bb"}])
def test_the_place_changes_the_id_and_not_the_bundle(change: dict[str, Any]) -> None:
    assert a_release(**change).id != a_release().id
    assert a_release(**change).bundle == a_release().bundle


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        a_model().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "Llama", "-x", "x-", "a/b", "a.b", "x" * 41, "a b", "a\n"])
def test_a_model_cannot_have_a_name_that_kubernetes_refuses(name: str) -> None:
    with pytest.raises(ValidationError):
        a_model(name=name)


@pytest.mark.parametrize(
    "over",
    [
        {"name": "2nd"},  # var.environment must start with a letter
        {"name": "e" * 40},  # and have at most 32 characters
        {"storage": {"secret_recovery_days": 3}},  # 0, or 7 to 30
        {"cluster": {"vpc_cidr": "10.0.0.0/8"}},  # /16 to /20
        {"cluster": {"admin_principal_arns": ["admin"]}},
    ],
)
def test_what_terraforms_own_variables_refuse_is_refused_before_anything_runs(over: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        an_environment(**over)


def test_a_deadline_has_an_end() -> None:
    with pytest.raises(ValidationError):
        an_environment(deadlines={"node_boot": float("inf")})


def test_a_pace_is_told_over_the_whole_time() -> None:
    now = 10.0
    pace = Pace(lambda: now)
    pace.describe(0, 100 * 2**20)
    now = 14.0
    assert pace.describe(40 * 2**20, 100 * 2**20) == "40.0 MiB of 100.0 MiB (40 %), 10.0 MiB/s, 6.0 s left"


def test_a_pace_of_nothing_has_no_share() -> None:
    assert Pace(lambda: 0.0).describe(3, 0, "requests") == "3 of 0 requests"


@pytest.mark.parametrize(
    ("zones", "gpu_zone"),
    [(("eu-west-1a",), None), (("eu-west-1a", "eu-west-1b"), "eu-west-1c"), ((), "eu-west-1a")],
)
def test_zones_terraform_could_not_use_are_refused(zones: tuple[str, ...], gpu_zone: str | None) -> None:
    with pytest.raises(ValidationError, match="zones"):
        an_environment(cluster={"zones": zones, "gpu": {"zone": gpu_zone}})


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"objectives": {"goodput": 0.9}}, "goodput is the share of requests within the bounds"),
        (
            {"objectives": {"ttft": {"p95": "9ms"}}, "load": {"streaming": False}},
            "nothing is measured for ttft.p95",
        ),
        (
            {"objectives": {"each": {"tpot": "9ms"}}, "load": {"streaming": False}},
            "measured for each.tpot",
        ),
        (
            {"load": {"prompt_tokens": {"mean": 9, "minimum": 10, "maximum": 5}}},
            "minimum 10 is above maximum 5",
        ),
    ],
)
def test_what_a_load_could_never_tell_is_refused_in_the_file(over: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        a_model(**over)


def test_answers_in_one_piece_may_have_objectives_on_the_whole() -> None:
    model = a_model(objectives={"e2e": {"p95": "900ms"}, "errors": 0.1}, load={"streaming": False})
    assert model.objectives.streamed == []


@pytest.mark.parametrize(
    ("paths", "pickles"),
    [
        (["config.json"], ()),
        (["model.safetensors", "training_args.bin"], ()),
        (["model.gguf"], ()),
        (["pytorch_model.bin", "config.json"], ("pytorch_model.bin",)),
        (["a.pt", "b.pth"], ("a.pt", "b.pth")),
    ],
)
def test_a_repo_whose_weights_are_in_pickles_only_is_known_as_such(
    paths: list[str], pickles: tuple[str, ...]
) -> None:
    files = tuple(HubFile(path=path, size=1) for path in paths)
    assert HubModel(repo="a/b", commit="c" * 40, gated=False, files=files).only_pickles == pickles


def test_adapters_are_part_of_what_a_staged_model_is() -> None:
    alone, adapter = a_staged(), a_staged(prefix="acme/polite/c", manifest_sha256="1" * 64, total_bytes=5)
    assert (alone.digest, alone.all_bytes) == (alone.manifest_sha256, alone.total_bytes)
    both = alone.model_copy(update={"adapters": (adapter,)})
    other = alone.model_copy(update={"adapters": (adapter.model_copy(update={"manifest_sha256": "2" * 64}),)})
    assert both.all_bytes == alone.total_bytes + 5
    assert len({alone.digest, both.digest, other.digest}) == 3


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a", "a"], "two adapters of the name a"), (["llama"], "llama is a name of the model itself")],
)
def test_two_things_of_one_name_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        a_model(engine={"lora": [{"name": name, "repo": "acme/x"} for name in names]})


def test_an_adapter_at_another_commit_is_another_release_and_another_bundle() -> None:
    model = a_model(engine={"lora": [{"name": "polite", "repo": "acme/polite"}]})
    first, second = (a_release(engine=model.with_adapters([commit * 40]).engine) for commit in "12")
    assert first.bundle != second.bundle

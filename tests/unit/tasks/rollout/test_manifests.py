from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.preflight.manifests import disagreements
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Engine, Model
from tasks.records.names import RELEASE_ANNOTATION
from tasks.records.results import Release, WarmCache
from tasks.records.strategy import Strategy, Taken
from tasks.rollout import explain, manifests
from tasks.rollout.manifests import (
    COMPILE_ALLOWANCE_SECONDS,
    engine_arguments,
    release_of,
    serving,
    stamped,
    start_budget_seconds,
    startup_probe,
)
from tasks.rollout.procedure import set_strategy
from tasks.rollout.strategy import RolloutPlan
from tasks.rollout.weights import Weights
from tests.support.builders import COMMIT, ROOT, WEIGHTS, a_cache, a_model, an_environment
from tests.support.canned import a_staged

Document = dict[str, Any]
RECREATE = RolloutPlan(Strategy.RECREATE, "asked for")
BUILT_IN = {"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "policy/v1", "storage.k8s.io/v1"}
# files of documents; values of charts and our own tables lie beside them
MANIFESTS = [
    file
    for file in sorted((ROOT / "k8s").rglob("*.yaml"))
    if file.parent.name not in {"values", "addons", "prefect"}
]


def made(
    model: Model | None = None,
    environment: Environment | None = None,
    cache: WarmCache | None = None,
    plan: RolloutPlan | None = None,
) -> list[Document]:
    weights = Weights.of(cache or a_cache(), WEIGHTS)
    documents = serving(ROOT, model or a_model(), environment or an_environment(), weights)
    if plan:
        set_strategy(documents, plan, None)
    return documents


def the(kind: str, documents: list[Document]) -> Document:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pod_of(documents: list[Document]) -> Document:
    spec: Document = the("Deployment", documents)["spec"]["template"]["spec"]
    return spec


def container_of(documents: list[Document]) -> Document:
    container: Document = pod_of(documents)["containers"][0]
    return container


def release_id(model: Model, environment: Environment, plan: RolloutPlan | None = None) -> str:
    return release_of(model, environment, COMMIT, made(model, environment, plan=plan)).id


# ------------------------------------------------------------- valid documents


def test_there_are_manifests() -> None:
    assert len(MANIFESTS) > 10


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_manifest_is_valid_as_it_lies_there(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        assert document["metadata"]["name"]
        if document["apiVersion"] in BUILT_IN:
            kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize(
    "strategy", [Strategy.SURGE, Strategy.ROLLING, Strategy.RECREATE, Strategy.BLUE_GREEN]
)
def test_every_document_is_valid_as_it_is_applied(ranks: int, strategy: Taken) -> None:
    model = a_model(engine={"tensor_parallel_size": ranks}, resources={"gpu": ranks})
    documents = made(model, plan=RolloutPlan(strategy, "asked for"))
    environment = an_environment()
    for document in stamped(documents, release_of(model, environment, COMMIT, documents)):
        if document["apiVersion"] in BUILT_IN:
            kubernetes_validate.validate(document, "1.33", strict=True)


def test_nothing_is_left_to_complete() -> None:
    text = yaml.safe_dump_all(made())
    assert not any(placeholder in text for placeholder in ("MODEL", "QUERY", "COMMIT", "NAMESPACE"))


def test_everything_lies_in_the_environments_namespace() -> None:
    assert {d["metadata"]["namespace"] for d in made(environment=an_environment(namespace="models"))} == {
        "models"
    }


# --------------------------------------------------------------- start budget


@pytest.mark.parametrize(
    ("weights", "rate", "seconds"),
    [(0, 100, 0), (100 * 2**20, 100, 1), (2**34, 100, 163.84), (2**34, 50, 327.68)],
)
def test_a_start_may_take_as_long_as_its_bytes_and_one_compilation(
    weights: int, rate: float, seconds: float
) -> None:
    allowed = pytest.approx(seconds + COMPILE_ALLOWANCE_SECONDS)
    volume = an_environment(deadlines={"cold_read_mib_s": rate, "stream_mib_s": 1})
    assert start_budget_seconds(Weights.of(a_cache(), weights), volume) == allowed
    streams = an_environment(deadlines={"cold_read_mib_s": 1, "stream_mib_s": rate})
    assert start_budget_seconds(Weights.of(a_staged(), weights), streams) == allowed


@given(st.floats(1, 50_000))
def test_the_startup_probe_covers_the_budget_and_little_more(budget: float) -> None:
    period, threshold = startup_probe(budget)
    assert budget <= period * threshold <= budget + period
    assert 1 <= period <= 10
    assert threshold >= min(60, math.floor(budget))


def test_the_rollouts_deadline_is_longer_than_the_probe_may_take() -> None:
    documents = made()
    probe = container_of(documents)["startupProbe"]
    deadline = the("Deployment", documents)["spec"]["progressDeadlineSeconds"]
    assert deadline > probe["periodSeconds"] * probe["failureThreshold"]


def test_a_pod_may_finish_its_streams_before_it_is_killed() -> None:
    documents = made(a_model(engine={"drain": "7s", "shutdown_timeout": "45s"}))
    assert container_of(documents)["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert "--shutdown-timeout=45" in container_of(documents)["args"]
    assert pod_of(documents)["terminationGracePeriodSeconds"] > 7 + 45


def test_a_load_in_progress_is_not_killed_by_another_probe() -> None:
    container = container_of(made())
    assert not any(
        "initialDelaySeconds" in container[p] for p in ("startupProbe", "readinessProbe", "livenessProbe")
    )


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("engine", "flag"),
    [
        ({}, "--max-model-len=8192"),
        ({}, "--gpu-memory-utilization=0.9"),
        ({"quantization": "awq"}, "--quantization=awq"),
        ({"kv_cache_dtype": "fp8"}, "--kv-cache-dtype=fp8"),
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"extra_args": ["--seed=7"]}, "--seed=7"),
        ({"tensor_parallel_size": 4}, "--tensor-parallel-size=4"),
    ],
)
def test_a_setting_is_a_flag(engine: dict[str, Any], flag: str) -> None:
    assert flag in engine_arguments(Engine.model_validate(engine), model_path="/models/a", served_name="x")


@pytest.mark.parametrize("flag", ["--quantization", "--kv-cache-dtype", "--trust-remote-code"])
def test_what_is_not_set_is_left_to_vllm(flag: str) -> None:
    arguments = engine_arguments(Engine(), model_path="/models/a", served_name="x")
    assert not any(argument.startswith(flag) for argument in arguments)


def test_every_flag_carries_its_value_with_it() -> None:
    model, *flags = engine_arguments(Engine(), model_path="/m", served_name="x")
    assert model == "/m"
    assert all(flag.startswith("--") and "=" in flag for flag in flags)


def test_the_weights_are_read_where_the_cache_holds_them() -> None:
    documents = made(cache=a_cache(path="a--b/c", claim="claim-7"))
    assert container_of(documents)["args"][0] == "/models/a--b/c"
    assert pod_of(documents)["volumes"][0]["persistentVolumeClaim"]["claimName"] == "claim-7"
    mount = container_of(documents)["volumeMounts"][0]
    assert (mount["mountPath"], mount["readOnly"]) == ("/models", True)


@pytest.mark.parametrize(("ranks", "shared"), [(1, False), (2, True)])
def test_ranks_of_one_model_share_memory(ranks: int, shared: bool) -> None:
    documents = made(a_model(engine={"tensor_parallel_size": ranks}, resources={"gpu": ranks}))
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(documents)["volumeMounts"]}
    assert ("/dev/shm" in mounts) is shared  # noqa: S108
    assert any(volume["name"] == "shm" for volume in pod_of(documents)["volumes"]) is shared


def test_ranks_say_why_a_collective_failed_unless_the_file_says_otherwise() -> None:
    several: dict[str, Any] = {"tensor_parallel_size": 2}

    def level(**engine: Any) -> list[str]:
        model = a_model(engine=several | engine, resources={"gpu": 2})
        return [e["value"] for e in container_of(made(model))["env"] if e["name"] == "NCCL_DEBUG"]

    assert (level(), level(env={"NCCL_DEBUG": "INFO"})) == (["WARN"], ["INFO"])
    assert "NCCL_DEBUG" not in {variable["name"] for variable in container_of(made())["env"]}


def test_room_on_the_nodes_disk_is_requested_where_the_file_asks_for_it() -> None:
    asked = container_of(made(a_model(resources={"ephemeral_storage": "20Gi"})))["resources"]
    assert asked["requests"]["ephemeral-storage"] == "20Gi"
    assert "ephemeral-storage" not in asked["limits"]
    assert "ephemeral-storage" not in container_of(made())["resources"]["requests"]


def test_adapters_are_served_from_their_commits_folders() -> None:
    lora = [{"name": name, "repo": f"acme/{name}"} for name in ("polite", "curt")]
    model = a_model(engine={"lora": lora, "max_loras": 2, "max_lora_rank": 64, "extra_args": ["--seed=1"]})
    arguments = container_of(made(model.with_adapters(["1" * 40, "2" * 40])))["args"]
    at = arguments.index("--enable-lora")
    assert arguments[at:] == [
        "--enable-lora", "--max-loras=2", "--max-lora-rank=64", "--lora-modules",
        f"polite=/models/acme--polite/{'1' * 40}", f"curt=/models/acme--curt/{'2' * 40}", "--seed=1",
    ]  # fmt: skip
    assert "--enable-lora" not in container_of(made())["args"]


def streamed(**over: Any) -> list[Document]:
    model = a_model(weights="stream", resources={"memory": "32Gi"}, **over)
    staged = a_staged(bucket="acme-models", prefix=f"acme/llama/{COMMIT}", commit=COMMIT)
    return serving(ROOT, model, an_environment(), Weights.of(staged, WEIGHTS))


def test_streamed_weights_need_no_volume_and_come_by_an_account_of_their_own() -> None:
    documents = streamed(scaling={"max_replicas": 4}, stream={"concurrency": 8, "memory": "2Gi"})
    container, pod = container_of(documents), pod_of(documents)
    assert container["args"][0] == f"s3://acme-models/acme/llama/{COMMIT}"
    assert "--load-format=runai_streamer" in container["args"]
    limits = json.dumps({"concurrency": 8, "memory_limit": 2 * 2**30})
    assert f"--model-loader-extra-config={limits}" in container["args"]
    assert (pod["volumes"], container["volumeMounts"]) == ([], [])
    assert "affinity" not in pod
    assert pod["serviceAccountName"] == "vllm-llama"
    accounts = [d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"]
    assert accounts == ["vllm-llama", "vllm"]


def test_ranks_that_stream_share_memory_all_the_same() -> None:
    documents = streamed(engine={"tensor_parallel_size": 2})
    assert pod_of(documents)["volumes"] == []
    model = a_model(
        weights="stream", engine={"tensor_parallel_size": 2}, resources={"gpu": 2, "memory": "32Gi"}
    )
    staged = a_staged(bucket="b", prefix="p", commit=COMMIT)
    made = serving(ROOT, model, an_environment(), Weights.of(staged, WEIGHTS))
    assert [volume["name"] for volume in pod_of(made)["volumes"]] == ["shm"]
    assert [mount["name"] for mount in container_of(made)["volumeMounts"]] == ["shm"]
    assert '"distributed": true' in next(a for a in container_of(made)["args"] if "extra-config" in a)


def test_making_the_documents_twice_does_not_add_to_them() -> None:
    model = a_model(engine={"tensor_parallel_size": 2}, resources={"gpu": 2})
    assert made(model) == made(model)


def test_the_hubs_token_stays_outside() -> None:
    names = {variable["name"]: variable for variable in container_of(made())["env"]}
    assert not {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} & set(names)
    assert names["HF_HUB_OFFLINE"]["value"] == "1"
    assert "value" not in names["VLLM_API_KEY"]


def test_memory_and_gpus_are_limited_to_what_is_requested_and_cpu_is_not() -> None:
    resources = container_of(made(a_model(resources={"cpu": "6", "memory": "40Gi", "gpu": 2})))["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "2", "memory": "40Gi"}
    assert resources["requests"] == resources["limits"] | {"cpu": "6"}


# ------------------------------------------------------------------ placement


@pytest.mark.parametrize("effect", ["NoSchedule", "PreferNoSchedule", "NoExecute"])
@pytest.mark.parametrize("value", ["", "true", "a"])
def test_pods_agree_with_the_nodes_whatever_label_and_taint_there_is(effect: str, value: str) -> None:
    gpu = {
        "label_key": "pool",
        "label_value": "a10g",
        "taint": {"key": "t", "value": value, "effect": effect},
    }
    environment = an_environment(cluster={"gpu": gpu})
    assert disagreements(made(environment=environment), environment) == []


def test_two_replicas_on_one_volume_are_refused_before_anything_is_applied() -> None:
    with pytest.raises(InputError, match="its cache volume can serve one"):
        made(a_model(scaling={"max_replicas": 2}))


def test_the_scale_down_window_of_the_hpa_is_the_cooldown() -> None:
    [scaled] = [each for each in made(a_model(scaling={"cooldown": "90s"})) if each["kind"] == "ScaledObject"]
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 90
    assert not scaled["spec"].keys() & {"cooldownPeriod", "pollingInterval"}  # for scaling to zero only


def test_replicas_are_added_fast_and_removed_slowly_unless_the_model_says_otherwise() -> None:
    def behavior(**scaling: Any) -> Any:
        spec = the("ScaledObject", made(a_model(scaling=scaling)))["spec"]
        return spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]

    def rules(window: int, replicas: int, every: int) -> Any:
        policy = {"type": "Pods", "value": replicas, "periodSeconds": every}
        return {"stabilizationWindowSeconds": window, "selectPolicy": "Max", "policies": [policy]}

    assert behavior() == {"scaleUp": rules(0, 4, 15), "scaleDown": rules(300, 1, 60)}
    given = behavior(
        scale_up={"replicas": 2, "every": "30s", "window": "10s"},
        scale_down={"replicas": 3, "every": "2m"},
        cooldown="1m",
    )
    assert given == {"scaleUp": rules(10, 2, 30), "scaleDown": rules(60, 3, 120)}


def test_a_polling_interval_comes_with_the_cache_without_which_keda_does_not_heed_it() -> None:
    spec = the("ScaledObject", made(a_model(scaling={"polling": "2s"})))["spec"]
    assert (spec["pollingInterval"], spec["triggers"][0]["useCachedMetrics"]) == (2, True)


def test_demand_is_running_and_waiting_requests_times_their_weights() -> None:
    labels = '{namespace="llm",model_name="llama"}'

    def trigger(**scaling: Any) -> Any:
        return the("ScaledObject", made(a_model(scaling=scaling)))["spec"]["triggers"][0]["metadata"]

    running, waiting = f"sum(vllm:num_requests_running{labels})", f"sum(vllm:num_requests_waiting{labels})"
    assert trigger()["query"] == f"1 * {running} + 10 * {waiting}"
    given = trigger(running_weight=0.5, waiting_weight=4, activation=3)
    assert given["query"] == f"0.5 * {running} + 4 * {waiting}"
    assert given["activationThreshold"] == "3"


SEVERAL = {"scaling": {"max_replicas": 2}}
SNAPSHOT = a_cache(snapshot="warm-1", storage_class="fast-clone", size="20Gi")


def test_each_of_several_replicas_has_a_clone_of_the_snapshot_that_goes_with_it() -> None:
    documents = made(a_model(**SEVERAL), cache=SNAPSHOT)
    kubernetes_validate.validate(the("Deployment", documents), "1.33", strict=True)
    volume = pod_of(documents)["volumes"][0]
    assert "persistentVolumeClaim" not in volume
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["dataSource"] == {
        "apiGroup": "snapshot.storage.k8s.io",
        "kind": "VolumeSnapshot",
        "name": "warm-1",
    }
    assert (claim["storageClassName"], claim["accessModes"]) == ("fast-clone", ["ReadWriteOnce"])
    assert claim["resources"]["requests"]["storage"] == "20Gi"
    assert volume["name"] == container_of(documents)["volumeMounts"][0]["name"]


def test_one_replica_takes_the_claim_itself_though_there_is_a_snapshot() -> None:
    volume = pod_of(made(cache=SNAPSHOT))["volumes"][0]
    assert volume["persistentVolumeClaim"]["claimName"] == "model-cache-llama"


def test_pods_that_share_a_claim_are_scheduled_beside_each_other_and_others_anywhere() -> None:
    affinity = pod_of(made())["affinity"]["podAffinity"]
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    [expression, not_streamed] = term["labelSelector"]["matchExpressions"]
    labels = the("Deployment", made())["spec"]["template"]["metadata"]["labels"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert labels[expression["key"]] in expression["values"]
    # a release before it that streams shares no claim
    assert not_streamed == {"key": "slipway.dev/weights", "operator": "DoesNotExist"}
    assert not_streamed["key"] not in labels
    assert "affinity" not in pod_of(made(a_model(**SEVERAL), cache=SNAPSHOT))


def test_how_many_replicas_move_at_once_is_the_plans() -> None:
    plan = RolloutPlan(Strategy.ROLLING, "no GPU free", surge=0, unavailable=2)
    assert plan.deployment_strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2},
    }


@pytest.mark.parametrize(("memory", "size"), [("64Gi", "16384Mi"), ("12Gi", "6144Mi"), ("4Gi", "2048Mi")])
def test_shared_memory_leaves_the_replica_half_of_its_own(memory: str, size: str) -> None:
    model = a_model(engine={"tensor_parallel_size": 2}, resources={"gpu": 2, "memory": memory})
    [shm] = [volume for volume in pod_of(made(model))["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": size}


def test_a_pod_answers_for_itself_before_it_takes_traffic() -> None:
    probe = container_of(made())["startupProbe"]
    *_, script, name, path, body = probe["exec"]["command"]
    assert (name, path, json.loads(body)["max_tokens"]) == ("llama", "/v1/completions", 1)
    compile(script, "probe", "exec")
    for question in ("/health", "/v1/models", "VLLM_API_KEY"):
        assert question in script
    assert explain.UP.removeprefix("Startup probe failed: ") in script


@pytest.mark.parametrize(("task", "path"), [("embed", "/v1/embeddings"), ("score", "/v1/score")])
def test_a_pooling_model_is_started_as_one_and_asked_as_one(task: str, path: str) -> None:
    container = container_of(made(a_model(engine={"task": task})))
    assert "--runner=pooling" in container["args"]
    assert container["startupProbe"]["exec"]["command"][-2] == path


def test_the_task_is_part_of_a_release_only_where_it_is_another() -> None:
    """Ledgers of earlier versions have no task: their ids stay what they were."""
    plain, embeds = (
        release_of(a_model(engine={"task": task}), an_environment(), COMMIT, made())
        for task in ("generate", "embed")
    )
    document = plain.model_dump(mode="json")
    del document["engine"]["task"]
    assert Release.model_validate(document).id == plain.id
    assert len({plain.id, embeds.id}) == 2


def test_a_surge_starts_the_new_pod_before_the_old_one_goes() -> None:
    strategy = the("Deployment", made())["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert the("Deployment", made(plan=RECREATE))["spec"]["strategy"] == {"type": "Recreate"}


def test_selector_service_and_pods_agree() -> None:
    documents = made()
    workload = the("Deployment", documents)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for kind in ("Service",):
        assert the(kind, documents)["spec"]["selector"].items() <= labels.items()
    for kind in ("NetworkPolicy", "PodMonitor"):
        spec = the(kind, documents)["spec"]
        assert (spec.get("podSelector") or spec["selector"])["matchLabels"].items() <= labels.items()


def test_two_models_do_not_answer_for_each_other() -> None:
    one, other = made(a_model(name="one")), made(a_model(name="other"))
    selector = the("Service", one)["spec"]["selector"]
    labels = the("Deployment", other)["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= labels.items()


def test_keda_scales_this_workload_on_vllms_own_metrics() -> None:
    scaled = the("ScaledObject", made(a_model(scaling={"requests_per_replica": 9})))
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "vllm-llama"
    assert (scaled["spec"]["minReplicaCount"], trigger["threshold"]) == (1, "9")
    for metric in ("vllm:num_requests_waiting", "vllm:num_requests_running"):
        assert f'{metric}{{namespace="llm",model_name="llama"}}' in trigger["query"]


def test_the_deployment_leaves_its_replicas_to_keda() -> None:
    assert "replicas" not in the("Deployment", made())["spec"]


# -------------------------------------------------------------------- release


def test_the_same_inputs_make_the_same_release() -> None:
    assert release_id(a_model(), an_environment()) == release_id(a_model(), an_environment())


def test_how_it_is_rolled_out_does_not_make_another_release() -> None:
    assert release_id(a_model(), an_environment(), RECREATE) == release_id(a_model(), an_environment())


@pytest.mark.parametrize(
    "over",
    [
        {"engine": {"max_num_seqs": 7}},
        {"engine": {"extra_args": ["--seed=7"]}},
        {"engine": {"image": "vllm/vllm-openai:v0.33.0"}},
        {"resources": {"memory": "20Gi"}},
        {"scaling": {"requests_per_replica": 2}},
    ],
)
def test_what_is_served_makes_another_release(over: dict[str, Any]) -> None:
    assert release_id(a_model(**over), an_environment()) != release_id(a_model(), an_environment())


@pytest.mark.parametrize("over", [{"load": {"rate": 9}}, {"objectives": {"ttft": {"p95": "10ms"}}}])
def test_how_it_is_proven_does_not_make_another_release(over: dict[str, Any]) -> None:
    assert release_id(a_model(**over), an_environment()) == release_id(a_model(), an_environment())


def test_the_bundle_is_the_same_in_every_environment_it_comes_to() -> None:
    production = an_environment(
        name="production",
        namespace="prod",
        deadlines={"cold_read_mib_s": 50},
        cluster={"gpu": {"label_value": "x"}},
    )
    releases = [
        release_of(a_model(), where, COMMIT, made(environment=where))
        for where in (an_environment(), production)
    ]
    assert releases[0].bundle == releases[1].bundle
    assert releases[0].id != releases[1].id


def test_the_release_is_written_on_the_workload_and_its_pods_and_nowhere_else() -> None:
    documents = made()
    release = release_of(a_model(), an_environment(), COMMIT, documents)
    after = stamped(documents, release)
    workload = the("Deployment", after)
    assert workload["metadata"]["annotations"][RELEASE_ANNOTATION] == release.id
    assert workload["spec"]["template"]["metadata"]["annotations"][RELEASE_ANNOTATION] == release.id
    assert [d for d in after if d["kind"] != "Deployment"] == [
        d for d in documents if d["kind"] != "Deployment"
    ]


def test_stamping_leaves_the_documents_it_was_given_alone() -> None:
    documents = made()
    before = yaml.safe_dump_all(documents)
    stamped(documents, release_of(a_model(), an_environment(), COMMIT, documents))
    assert yaml.safe_dump_all(documents) == before


def test_a_stamped_release_is_the_same_release() -> None:
    documents = made()
    assert manifests.manifests_sha256(documents) == manifests.manifests_sha256(made(plan=RECREATE))


def test_a_prometheus_that_exists_is_asked_by_keda_finds_the_pods_and_is_let_in() -> None:
    theirs = {
        "namespace": "o11y",
        "service": "prom",
        "pod_labels": {"app": "prom"},
        "monitor_labels": {"team": "ml"},
    }
    documents = made(environment=an_environment(existing={"prometheus": theirs}))
    trigger = the("ScaledObject", documents)["spec"]["triggers"][0]["metadata"]
    assert trigger["serverAddress"] == "http://prom.o11y.svc.cluster.local:9090"
    assert the("PodMonitor", documents)["metadata"]["labels"] == {"team": "ml"}
    [scraper] = the("NetworkPolicy", documents)["spec"]["ingress"][1]["from"]
    assert scraper["podSelector"] == {"matchLabels": {"app": "prom"}}
    assert scraper["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "o11y"}}


def test_variables_of_the_models_file_come_after_ours_and_make_another_release() -> None:
    model = a_model(engine={"env": {"VLLM_LOGGING_LEVEL": "DEBUG", "NCCL_DEBUG": "INFO"}})
    names_set = [one["name"] for one in container_of(made(model))["env"]]
    assert names_set[-2:] == ["NCCL_DEBUG", "VLLM_LOGGING_LEVEL"]
    assert len(set(names_set)) == len(names_set)
    assert release_id(model, an_environment()) != release_id(a_model(), an_environment())


# ------------------------------------------------------------- drains


@pytest.mark.parametrize(
    ("gpu", "allows"),
    [
        ({}, {"maxUnavailable": 1}),
        # EC2 takes a spot node whatever a budget says: what is held is cut
        ({"capacity_type": "SPOT"}, {"minAvailable": 1}),
    ],
)
def test_of_two_replicas_or_more_a_drain_leaves_one(gpu: Document, allows: Document) -> None:
    several = a_model(scaling={"min_replicas": 2, "max_replicas": 3})
    budget = the("PodDisruptionBudget", made(several, an_environment(cluster={"gpu": gpu}), SNAPSHOT))
    kubernetes_validate.validate(budget, "1.33", strict=True)
    assert allows.items() <= budget["spec"].items()
    assert not {"maxUnavailable", "minAvailable"} - {*allows} & {*budget["spec"]}
    pods = the("Deployment", made(several, cache=SNAPSHOT))["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= pods.items()


def test_a_single_replica_has_no_budget_for_it_would_block_every_drain() -> None:
    assert "PodDisruptionBudget" not in {d["kind"] for d in made(a_model(**SEVERAL), cache=SNAPSHOT)}


@pytest.mark.parametrize(("gpu", "name"), [({}, None), ({"runtime_class": "nvidia"}, "nvidia")])
def test_the_runtime_class_is_the_environments(gpu: Document, name: str | None) -> None:
    documents = made(environment=an_environment(cluster={"gpu": gpu}))
    kubernetes_validate.validate(the("Deployment", documents), "1.33", strict=True)
    assert pod_of(documents).get("runtimeClassName") == name


TWO_ZONES = {
    "zones": ["eu-west-1a", "eu-west-1b"],
    "gpu": {"provisioner": "karpenter", "zone": "eu-west-1a", "other_zones": ["eu-west-1b"]},
}


def test_replicas_on_clones_prefer_the_home_zone_and_one_on_its_volume_follows_that() -> None:
    where = an_environment(cluster=TWO_ZONES)
    documents = made(a_model(**SEVERAL), where, SNAPSHOT)
    kubernetes_validate.validate(the("Deployment", documents), "1.33", strict=True)
    (term,) = pod_of(documents)["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (wanted,) = term["preference"]["matchExpressions"]
    assert wanted == {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-west-1a"]}
    assert "nodeAffinity" not in pod_of(made(environment=where))["affinity"]

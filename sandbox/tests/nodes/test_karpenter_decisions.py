"""What Karpenter decides, as tables: offerings by requirement, pods onto nodes, limits, launches."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot
from slipway_sandbox.images.karpenter.__main__ import timing
from slipway_sandbox.images.karpenter.claims import claim_of, launchable, not_initialized
from slipway_sandbox.images.karpenter.cloud import Unavailable
from slipway_sandbox.images.karpenter.offerings import Offering, Pool, gpu_name, satisfies, type_labels
from slipway_sandbox.images.karpenter.packing import Packing, Plan
from slipway_sandbox.images.karpenter.provisioning import Batch, is_provisionable
from slipway_sandbox.images.karpenter.resources import conditioned, seconds_of, with_root
from slipway_sandbox.nodes.instance_types import instance_type

PRICES = {"m5.large": 0.1, "m5.xlarge": 0.2, "g6.xlarge": 0.8, "g5.xlarge": 1.0, "g5.12xlarge": 5.7}
EVERY = [
    Offering(instance_type(name), zone, capacity_type, price)
    for name, price in PRICES.items()
    for zone in ("us-east-1a", "us-east-1b")
    for capacity_type in ("on-demand", "spot")
]


def requirement(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


ON_DEMAND = requirement("karpenter.sh/capacity-type", "In", "on-demand")


def pool(name: str = "default", *requirements: Object, remaining: Any = None, **spec: Any) -> Pool:
    template = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
        "requirements": list(requirements) or [ON_DEMAND],
        **spec.pop("template", {}),
    }
    raw = {
        "metadata": {"name": name, "uid": name},
        "spec": {"template": {"spec": template, **spec.pop("around", {})}, **spec},
    }
    left = remaining and {key: Decimal(value) for key, value in remaining.items()}
    return Pool(raw, EVERY, left)


def pod(name: str, cpu: str = "100m", gpus: int = 0, **spec: Any) -> Object:
    asked = {"cpu": cpu, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"resources": {"requests": asked}}], **spec},
    }


def decide(
    pods: list[Object],
    *pools: Pool,
    nodes: list[NodeInfo] | None = None,
    daemons: tuple[Object, ...] = (),
    **more: Any,
) -> Plan:
    return Packing(Snapshot(nodes or [], **more), pools, daemons).decide(pods)


def cheapest(plan: Plan) -> list[str]:
    return [draft.offerings[0].type.name for draft in plan.drafts]


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        (
            requirement("karpenter.k8s.aws/instance-category", "In", "g"),
            {"g5.xlarge", "g5.12xlarge", "g6.xlarge"},
        ),
        (requirement("karpenter.k8s.aws/instance-family", "NotIn", "g5", "g6"), {"m5.large", "m5.xlarge"}),
        (
            requirement("karpenter.k8s.aws/instance-gpu-count", "Exists"),
            {"g5.xlarge", "g5.12xlarge", "g6.xlarge"},
        ),
        (requirement("karpenter.k8s.aws/instance-gpu-count", "DoesNotExist"), {"m5.large", "m5.xlarge"}),
        (requirement("karpenter.k8s.aws/instance-gpu-count", "Gt", "1"), {"g5.12xlarge"}),
        (requirement("karpenter.k8s.aws/instance-cpu", "Lt", "4"), {"m5.large"}),
        (requirement("karpenter.k8s.aws/instance-cpu", "Gte", "48"), {"g5.12xlarge"}),
        (requirement("karpenter.k8s.aws/instance-cpu", "Lte", "2"), {"m5.large"}),
        (requirement("karpenter.k8s.aws/instance-generation", "Gt", "5"), {"g6.xlarge"}),
        (requirement("karpenter.k8s.aws/instance-size", "In", "large"), {"m5.large"}),
        (requirement("karpenter.k8s.aws/instance-gpu-name", "In", "l4"), {"g6.xlarge"}),
    ],
)
def test_requirements_choose_types(wanted: Object, types: set[str]) -> None:
    assert {name for name in PRICES if satisfies(type_labels(instance_type(name)), [wanted])} == types


@pytest.mark.parametrize(
    ("product", "name"),
    [("Tesla-T4", "t4"), ("NVIDIA-A10G", "a10g"), ("NVIDIA-A100-SXM4-40GB", "a100"), ("NVIDIA-L40S", "l40s")],
)
def test_gpu_names_are_ec2s(product: str, name: str) -> None:
    assert gpu_name(product) == name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([pod("small")], ["m5.large"]),
        ([pod("bigger", "3")], ["m5.xlarge"]),
        ([pod("gpu", gpus=1)], ["g6.xlarge"]),
        ([pod("gpus", gpus=4)], ["g5.12xlarge"]),
        ([pod("one"), pod("two")], ["m5.large"]),
        ([pod("one", "1500m"), pod("two", "1500m")], ["m5.xlarge"]),
        ([pod("one", gpus=4), pod("two", gpus=4)], ["g5.12xlarge", "g5.12xlarge"]),
        ([pod("a10g", gpus=1, nodeSelector={"karpenter.k8s.aws/instance-family": "g5"})], ["g5.xlarge"]),
    ],
)
def test_the_cheapest_type_that_holds_the_pods_is_chosen(asked: list[Object], expected: list[str]) -> None:
    assert cheapest(decide(asked, pool())) == expected


def test_a_pod_on_a_node_that_is_coming_asks_for_no_other() -> None:
    node = {
        "metadata": {"name": "coming", "labels": {}},
        "spec": {},
        "status": {"allocatable": {"cpu": "2", "pods": "10"}},
    }
    plan = decide([pod("p")], pool(), nodes=[NodeInfo(node)])
    assert ([name for _, name in plan.nominations], plan.drafts) == (["coming"], [])


def test_the_heavier_pool_comes_first_and_a_lighter_one_serves_what_it_cannot() -> None:
    heavy = pool("heavy", ON_DEMAND, requirement("karpenter.k8s.aws/instance-category", "In", "m"), weight=10)
    plan = decide([pod("cpu"), pod("gpu", gpus=1)], pool("light"), heavy)
    assert sorted(draft.pool.name for draft in plan.drafts) == ["heavy", "light"]


ZONE, CAPACITY = "topology.kubernetes.io/zone", "karpenter.sh/capacity-type"


def preferring(weight: int, key: str, value: str) -> Object:
    return {"weight": weight, "preference": {"matchExpressions": [requirement(key, "In", value)]}}


@pytest.mark.parametrize(
    ("preferences", "offered", "came"),
    [
        ([], EVERY, ("us-east-1a", "on-demand")),
        ([preferring(50, ZONE, "us-east-1b")], EVERY, ("us-east-1b", "on-demand")),
        # the heaviest is a requirement until nothing can meet it, then the next one
        (
            [preferring(50, ZONE, "us-east-1b"), preferring(100, CAPACITY, "spot")],
            EVERY,
            ("us-east-1a", "spot"),
        ),
        (
            [preferring(50, ZONE, "us-east-1b"), preferring(100, CAPACITY, "spot")],
            [o for o in EVERY if o.capacity_type != "spot"],
            ("us-east-1b", "on-demand"),
        ),
        (
            [preferring(50, ZONE, "us-east-1b"), preferring(100, ZONE, "us-east-1c")],
            [o for o in EVERY if o.zone == "us-east-1a"],
            ("us-east-1a", "on-demand"),
        ),
    ],
)
def test_a_preference_is_a_requirement_until_nothing_meets_it(
    preferences: list[Object], offered: list[Offering], came: tuple[str, str]
) -> None:
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferences}}
    any_market = requirement(CAPACITY, "In", "on-demand", "spot")
    plan = decide([asked := pod("p", affinity=affinity)], Pool(pool("default", any_market).raw, offered))
    (draft,) = plan.drafts
    assert (draft.offerings[0].zone, draft.offerings[0].capacity_type) == came
    assert (draft.pods, plan.errors) == ([asked], [])


def test_a_taint_of_the_template_wants_a_toleration_and_a_startup_taint_does_not() -> None:
    taint = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
    tainted, starting = pool(template={"taints": [taint]}), pool(template={"startupTaints": [taint]})
    refused = decide([pod("p")], tainted)
    assert refused.errors[0][1] == "did not tolerate taint (taint=nvidia.com/gpu=true:NoSchedule)"
    tolerant = pod("p", tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}])
    assert len(decide([tolerant], tainted).drafts) == 1
    assert len(decide([pod("p")], starting).drafts) == 1


@pytest.mark.parametrize(
    ("remaining", "drafts"),
    [
        ({"cpu": "100"}, 2),
        ({"cpu": "2"}, 1),
        ({"cpu": "1"}, 0),
        ({"nvidia.com/gpu": "0"}, 2),
        ({"nodes": "1"}, 1),
    ],
)
def test_limits(remaining: dict[str, str], drafts: int) -> None:
    only = requirement("karpenter.k8s.aws/instance-family", "In", "m5")
    large = requirement("karpenter.k8s.aws/instance-size", "In", "large")
    plan = decide(
        [pod("a", "1500m"), pod("b", "1500m")], pool("p", ON_DEMAND, only, large, remaining=remaining)
    )
    assert len(plan.drafts) == drafts
    spent = (
        "node limits have been exhausted"
        if "nodes" in remaining
        else "all available instance types exceed limits"
    )
    assert [why for _, why in plan.errors] == [f"{spent} for nodepool (NodePool=p)"] * (2 - drafts)


TEAMS = requirement("team", "In", "red", "blue")


@pytest.mark.parametrize(
    ("pools", "wanted", "why"),
    [
        ([], {}, "no nodepools found"),
        (
            [pool("p", ON_DEMAND, requirement("karpenter.k8s.aws/instance-family", "In", "p5"))],
            {},
            "nodepool requirements filtered out all available instance types",
        ),
        (
            [pool("p", ON_DEMAND, TEAMS)],
            {"team": "green"},
            "incompatible requirements, key team, team In [green] not in team In [blue red]",
        ),
        (
            [pool("p", ON_DEMAND, around={"metadata": {"labels": {"team": "red"}}})],
            {"team": "blue"},
            "incompatible requirements, key team, team In [blue] not in team In [red]",
        ),
        ([pool()], {"team": "x"}, 'incompatible requirements, label "team" does not have known values'),
        (
            [pool("a", ON_DEMAND, remaining={"cpu": "1"}), pool("b", ON_DEMAND, remaining={"nodes": "0"})],
            {},
            "all available instance types exceed limits for nodepool (NodePool=a); "
            "node limits have been exhausted for nodepool (NodePool=b)",
        ),
    ],
)
def test_why_there_is_no_node_is_said_in_karpenters_words(
    pools: list[Pool], wanted: dict[str, str], why: str
) -> None:
    plan = decide([pod("p", nodeSelector=wanted)], *pools)
    assert ([said for _, said in plan.errors], plan.drafts) == ([why], [])


def test_a_label_the_template_or_any_value_of_a_key_gives_is_no_hindrance() -> None:
    labelled = pool("p", ON_DEMAND, around={"metadata": {"labels": {"team": "red"}}})
    assert len(decide([pod("p", nodeSelector={"team": "red"})], labelled).drafts) == 1


def test_a_volume_decides_the_zone() -> None:
    terms = [{"matchExpressions": [requirement("topology.ebs.csi.aws.com/zone", "In", "us-east-1b")]}]
    volume = {"metadata": {"name": "v"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
    claim = {
        "metadata": {
            "name": "c",
            "namespace": "default",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {"volumeName": "v", "accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"},
    }
    mounting = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    plan = decide([mounting], pool(), claims={("default", "c"): claim}, volumes={"v": volume})
    assert {offering.zone for offering in plan.drafts[0].offerings} == {"us-east-1b"}


def test_daemon_sets_take_their_part_of_a_new_node() -> None:
    daemon = pod("daemon", "1")
    assert cheapest(decide([pod("p", "1500m")], pool(), daemons=(daemon,))) == ["m5.xlarge"]
    elsewhere = pod("daemon", "1", nodeSelector={"kubernetes.io/arch": "arm64"})
    assert cheapest(decide([pod("p", "1500m")], pool(), daemons=(elsewhere,))) == ["m5.large"]


def test_labels_of_the_users_own_are_the_pods_choice() -> None:
    teams = pool("p", ON_DEMAND, requirement("team", "In", "red", "blue"))
    plan = decide([pod("p", nodeSelector={"team": "blue"})], teams)
    assert claim_of(plan.drafts[0])["metadata"]["labels"]["team"] == "blue"
    assert decide([pod("p", nodeSelector={"team": "green"})], teams).drafts == []


def test_two_pods_that_must_not_meet_get_two_nodes() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pods = [pod(name, affinity=apart) for name in ("a", "b")]
    for each in pods:
        each["metadata"]["labels"] = {"app": "x"}
    assert len(decide(pods, pool()).drafts) == 2


def test_a_claim_names_the_types_zones_and_ways_to_buy_that_are_left() -> None:
    both = requirement("karpenter.sh/capacity-type", "In", "spot", "on-demand")
    plan = decide([pod("p", gpus=1)], pool("p", both, template={"expireAfter": "24h"}))
    claim = claim_of(plan.drafts[0])
    named = {r["key"]: r["values"] for r in claim["spec"]["requirements"]}
    assert named["node.kubernetes.io/instance-type"] == ["g6.xlarge", "g5.xlarge", "g5.12xlarge"]
    assert named["topology.kubernetes.io/zone"] == ["us-east-1a", "us-east-1b"]
    assert named["karpenter.sh/capacity-type"] == ["on-demand", "spot"]
    assert claim["spec"]["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert (claim["spec"]["expireAfter"], claim["metadata"]["generateName"]) == ("24h", "p-")


def test_spot_is_asked_for_where_it_is_allowed_and_to_be_had() -> None:
    spec = {"requirements": [requirement("karpenter.sh/capacity-type", "In", "spot", "on-demand")]}
    claim: Object = {"metadata": {"name": "c"}, "spec": spec}
    assert {o.capacity_type for o in launchable(claim, EVERY)} == {"spot"}
    without = [o for o in EVERY if o.capacity_type != "spot"]
    assert {o.capacity_type for o in launchable(claim, without)} == {"on-demand"}
    assert launchable(claim, EVERY)[0].price == 0.1


def test_a_refused_offering_is_left_alone_for_three_minutes() -> None:
    clock = [0.0]
    unavailable = Unavailable(lambda: clock[0], 20.0)
    unavailable.mark(EVERY[0].key)
    assert EVERY[0] not in unavailable.left(EVERY)
    clock[0] = 20.0
    assert unavailable.left(EVERY) == EVERY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1h30m", 5400),
        ("720h", 2592000),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("Never", None),
        (None, None),
        ("0s", 0),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["10", "5 s", "3d", "1h later"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        seconds_of(text)


def test_a_batch_may_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_IDLE_DURATION", "0s")
    monkeypatch.setenv("BATCH_MAX_DURATION", "500ms")
    assert (timing().batch_idle, timing().batch_max) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "NodeNotReady"),
        ({"taints": [{"key": "warming", "effect": "NoSchedule"}]}, "StartupTaintsExist"),
        (
            {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
            "KnownEphemeralTaintsExist",
        ),
        ({}, "ResourceNotRegistered"),
        ({"gpus": "1"}, None),
    ],
)
def test_what_a_node_lacks_to_be_initialized(node: Object, reason: str | None) -> None:
    claim = {
        "spec": {
            "startupTaints": [{"key": "warming", "effect": "NoSchedule"}],
            "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}},
        },
        "status": {"allocatable": {"cpu": "4", "nvidia.com/gpu": "1"}},
    }
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    status = {
        **ready,
        "allocatable": {"cpu": "4", "nvidia.com/gpu": node.get("gpus", "0")},
        **node.get("status", {}),
    }
    lacking = not_initialized({"spec": {"taints": node.get("taints", [])}, "status": status}, claim)
    assert (lacking and lacking[0]) == reason


def test_ready_follows_from_the_steps() -> None:
    item: Object = {"metadata": {"generation": 2}}
    item["status"] = conditioned(item, "Launched", "True", "now")
    ready = with_root(item, ("Launched", "Registered"), "now")["conditions"][-1]
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "Unknown",
        "ReconcilingDependents",
        "Registered=Unknown",
    )
    item["status"] = conditioned(item, "Registered", "True", "now")
    assert with_root(item, ("Launched", "Registered"), "now")["conditions"][-1]["status"] == "True"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"spec": {"containers": [], "nodeName": "n"}}, False),
        ({"status": {}}, False),
        ({"metadata": {"name": "p", "ownerReferences": [{"kind": "DaemonSet"}]}}, False),
        ({"metadata": {"name": "p", "deletionTimestamp": "now"}}, False),
    ],
)
def test_pods_that_get_nodes(change: Object, expected: bool) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    waiting = {"metadata": {"name": "p"}, "spec": {"containers": []}, "status": {"conditions": [condition]}}
    assert is_provisionable({**waiting, **change}) is expected


def test_a_round_waits_for_stragglers_but_not_for_ever() -> None:
    batch = Batch(idle=1.0, longest=2.5)
    pods = [pod(str(number)) for number in range(4)]
    assert [batch.is_due(pods[: n + 1], float(n) * 0.9) for n in range(4)] == [False, False, False, True]
    quiet = Batch(idle=1.0, longest=10.0)
    assert [quiet.is_due(pods[:1], at) for at in (0.0, 0.5, 1.0)] == [False, False, True]

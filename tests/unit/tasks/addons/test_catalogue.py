from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.addons.catalogue import (
    Addon,
    chart_source,
    chosen,
    in_order,
    load_addons,
    own_values,
    values_files,
)
from tasks.addons.helm import Repair, decide_repair
from tasks.preflight.manifests import tolerates
from tasks.records.errors import InvalidDocument
from tasks.records.gpu_nodes import Taint
from tests.support.builders import ROOT, an_environment

CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"


def addon(name: str, *needs: str, **over: Any) -> Addon:
    return Addon.model_validate(
        {"name": name, "namespace": "n", "needs": needs, "proof": "metrics-answer"} | over
    )


@pytest.mark.parametrize(
    ("addons", "order"),
    [
        ([], ""),
        ([addon("a"), addon("b")], "ab"),
        ([addon("b"), addon("a")], "ba"),
        ([addon("a", "b"), addon("b")], "ba"),
        ([addon("a", "b", "c"), addon("b", "c"), addon("c")], "cba"),
        ([addon("a"), addon("b", "a"), addon("c", "a"), addon("d", "b", "c")], "abcd"),
    ],
)
def test_an_addon_comes_after_what_it_needs(addons: list[Addon], order: str) -> None:
    assert "".join(a.name for a in in_order(addons)) == order


def test_an_unknown_need_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="a needs prometheus, which is not there"):
        in_order([addon("a", "prometheus")])


@pytest.mark.parametrize(
    "addons",
    [
        [addon("a", "a")],
        [addon("a", "b"), addon("b", "a")],
        [addon("a", "b"), addon("b", "c"), addon("c", "a")],
    ],
)
def test_a_circle_is_refused(addons: list[Addon]) -> None:
    with pytest.raises(InvalidDocument, match="in a circle: a"):
        in_order(addons)


def test_one_name_is_one_addon() -> None:
    with pytest.raises(InvalidDocument):
        in_order([addon("a"), addon("a", "a")])


def test_the_projects_own_addons_are_in_order_and_pinned() -> None:
    found = load_addons(ROOT)
    assert found
    for at, one in enumerate(found):
        assert {before.name for before in found[:at]} >= set(one.needs)
        assert not one.chart or (one.version and one.repo), one.name


def test_the_projects_own_values_are_for_addons_it_has() -> None:
    names = {one.name for one in load_addons(ROOT)}
    assert {file.stem for file in (ROOT / "k8s/addons/values").glob("*.yaml")} <= names


def test_an_addons_file_with_an_unknown_key_is_told_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "k8s/addons"
    folder.mkdir(parents=True)
    (folder / "addons.yaml").write_text(
        "addons:\n  - name: keda\n    namespace: keda\n    proof: scaling-works\n    chrat: keda\n"
    )
    with pytest.raises(InvalidDocument, match=r"k8s/addons/addons\.yaml:5: .*unknown key"):
        load_addons(tmp_path)


KEDA = addon("keda", chart="keda", repo="https://kedacore.github.io/charts", version="2.20.2")


def test_a_chart_comes_from_its_public_repository_at_its_version() -> None:
    assert chart_source(KEDA, an_environment(), ROOT) == [
        "keda", "--repo", "https://kedacore.github.io/charts", "--version", "2.20.2",
    ]  # fmt: skip


def test_a_chart_of_an_oci_registry_is_named_by_its_address() -> None:
    karpenter = addon("karpenter", chart="karpenter", repo="oci://public.ecr.aws/karpenter", version="1.14.1")
    wanted = ["oci://public.ecr.aws/karpenter/karpenter", "--version", "1.14.1"]
    assert chart_source(karpenter, an_environment(), ROOT) == wanted


def test_karpenter_is_installed_where_it_makes_the_nodes_and_knows_its_cluster_and_queue() -> None:
    by_pods = an_environment(cluster={"name": "slipway-x", "gpu": {"provisioner": "karpenter"}})
    found = {one.name: one for one in chosen(load_addons(ROOT), by_pods)}
    assert "karpenter" not in {one.name for one in chosen(load_addons(ROOT), an_environment())}
    assert own_values(found["karpenter"], by_pods) == {
        "settings": {"clusterName": "slipway-x", "interruptionQueue": "slipway-x-karpenter"}
    }


def test_a_chart_comes_from_the_environments_folder_where_it_has_one() -> None:
    environment = an_environment(addons={"chart_root": "charts"})
    assert chart_source(KEDA, environment, Path("/p")) == ["/p/charts/keda", "--version", "2.20.2"]


def test_the_environments_values_are_laid_over_ours(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "k8s/addons/values", tmp_path / "over"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "keda.yaml").write_text("a: 1\n")
    assert values_files(KEDA, an_environment(), tmp_path) == [ours / "keda.yaml"]
    over = an_environment(addons={"extra_values": "over"})
    assert values_files(KEDA, over, tmp_path) == [ours / "keda.yaml", theirs / "keda.yaml"]
    assert values_files(addon("other"), over, tmp_path) == []


@pytest.mark.parametrize("value", ["", "true"])
@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_what_runs_on_gpu_nodes_tolerates_their_taint(value: str, effect: Any) -> None:
    taint = Taint(key="t", value=value, effect=effect)
    environment = an_environment(cluster={"gpu": {"label_value": "x", "taint": taint.model_dump()}})
    values: Any = own_values(addon("x", gpu_nodes=True), environment)
    assert values["nodeSelector"] == {"workload": "x"}
    assert tolerates(values["tolerations"][0], taint)
    assert yaml.safe_load(yaml.safe_dump(values)) == values


def history(*statuses: str) -> list[dict[str, Any]]:
    """`helm history -o json`, oldest first."""
    return [{"revision": n, "status": status, "chart": "x-1"} for n, status in enumerate(statuses, start=1)]


@pytest.mark.parametrize(
    ("statuses", "repair"),
    [
        ((), Repair("none")),
        (("deployed",), Repair("none")),
        (("superseded", "deployed"), Repair("none")),
        (("failed",), Repair("none")),  # upgrade --install goes over a failed first install
        (("deployed", "failed"), Repair("none")),
        (("uninstalled",), Repair("none")),
        (("pending-install",), Repair("uninstall")),
        (("failed", "pending-install"), Repair("uninstall")),
        (("deployed", "pending-upgrade"), Repair("rollback", 1)),
        (("superseded", "deployed", "pending-upgrade"), Repair("rollback", 2)),
        (("superseded", "failed", "pending-rollback"), Repair("rollback", 1)),
        (("superseded", "deployed", "failed", "pending-upgrade"), Repair("rollback", 2)),
        (("uninstalling",), Repair("uninstall")),
    ],
)
def test_a_release_left_pending_is_made_upgradable_again(statuses: tuple[str, ...], repair: Repair) -> None:
    assert decide_repair(history(*statuses)) == repair


def test_the_load_balancers_controller_comes_with_tls_only_and_is_told_its_vpc() -> None:
    [controller] = [one for one in load_addons(ROOT) if one.gateway_tls]
    plain = an_environment()
    tls = {"domain": "models.example.com", "certificate": CERTIFICATE}
    secure = an_environment(gateway={"tls": tls})
    assert controller not in chosen([controller], plain)
    assert chosen([controller], secure) == [controller]
    assert own_values(controller, secure, "vpc-1") == {
        "clusterName": "slipway-staging",
        "region": "us-east-1",
        "vpcId": "vpc-1",
    }

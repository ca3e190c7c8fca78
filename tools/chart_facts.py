"""Record what the add-ons' real charts say: the defaults of the values that are used here, and what they render.

    python -m tools.chart_facts                          # pulls each chart of k8s/addons/addons.yaml by helm
    python -m tools.chart_facts keda=FOLDER ...          # from unpacked charts, where no repository can be reached
    python -m tools.chart_facts --source "TEXT" keda=FOLDER

Writes k8s/addons/charts/NAME.json. Tests hold our values, the names in the product and the sandbox's charts against them.
Run it after a change of a version in addons.yaml or of a values file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tasks.addons.catalogue import Addon, load_addons, own_values
from tasks.records.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "k8s" / "addons" / "charts"
VALUES = ROOT / "k8s" / "addons" / "values"
STAND_INS = ROOT / "sandbox" / "charts"
ABSENT = "(absent)"
CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/00000000-0000-0000-0000-000000000000"
# what the product or an add-on's proof stands on
KINDS = (
    "APIService",
    "Alertmanager",
    "DaemonSet",
    "Deployment",
    "PodMonitor",
    "Prometheus",
    "PrometheusRule",
    "Service",
    "ServiceMonitor",
)
Document = dict[str, Any]


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything that is no mapping, or an empty one. A dot within a key is written `\\.`."""
    for key, value in values.items():
        path = prefix + str(key).replace(".", "\\.")
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def default_of(values: Mapping[str, Any], path: str) -> Any:
    """A chart's default by its dotted path; ABSENT where it has no such key. Free-form mappings take any key."""
    found: Any = values
    for key in path.replace("\\.", "\0").split("."):
        if found == {}:
            return "(free-form)"
        if not isinstance(found, Mapping) or key.replace("\0", ".") not in found:
            return ABSENT
        found = found[key.replace("\0", ".")]
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """As helm lays values over each other: mappings key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def values_of(addon: Addon) -> Document:
    """The values that an environment installs the add-on with: default settings, an Alertmanager, and TLS."""
    file = VALUES / f"{addon.name}.yaml"
    given: Document = yaml.safe_load(file.read_text()) if file.exists() else {}
    return merged(given, own_values(addon, environment(), "vpc-facts"))


def environment() -> Environment:
    names = {"model_bucket": "models", "state_bucket": "states"}
    return Environment.model_validate(
        {
            "name": "facts",
            "region": "us-east-1",
            "cluster": {"name": "facts"},
            "storage": names,
            "alerts": {"webhook": True},
            "gateway": {"tls": {"domain": "models.example.com", "certificate": CERTIFICATE}},
        }
    )


def digest_of(values: Mapping[str, Any]) -> str:
    """Names the values a record was made with."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def render(chart: Path, addon: Addon) -> list[Document]:
    """Every object the chart makes of our values. Of its dependencies those below charts/: one that is switched off may lack."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "chart"
        shutil.copytree(chart, copy)
        about = yaml.safe_load((copy / "Chart.yaml").read_text())
        there = [each for each in about.pop("dependencies", []) if (copy / "charts" / each["name"]).is_dir()]
        (copy / "Chart.yaml").write_text(yaml.safe_dump(about | {"dependencies": there}))
        with helm_python.Chart.load(str(copy)) as loaded:
            files = loaded.render(values_of(addon), name=addon.name, namespace=addon.namespace)
    texts = [text for file, text in files.items() if not file.endswith("NOTES.txt")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def summary(document: Mapping[str, Any]) -> Document:
    """What the product depends on of one object."""
    spec = document.get("spec") or {}
    found: Document = {"kind": document["kind"], "name": document["metadata"]["name"]}
    if document["kind"] == "Service":
        found["ports"] = {port["name"]: port["port"] for port in spec["ports"]}
    elif document["kind"] in ("ServiceMonitor", "PodMonitor"):
        endpoints = spec.get("endpoints") or spec.get("podMetricsEndpoints") or []
        found["endpoints"] = [
            {key: each[key] for key in ("port", "interval", "scrapeTimeout", "honorLabels") if key in each}
            for each in endpoints
        ]
    elif document["kind"] in ("DaemonSet", "Deployment"):
        pod = spec["template"]["spec"]
        found["pod"] = {
            key: pod[key]
            for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName")
            if pod.get(key)
        }
        found["containers"] = [container["name"] for container in pod["containers"]]
    elif document["kind"] == "Alertmanager":
        found |= {key: spec[key] for key in ("version", "secrets") if key in spec}
    elif document["kind"] == "Prometheus":
        keys = (
            "retention",
            "retentionSize",
            "scrapeInterval",
            "podMonitorSelector",
            "serviceMonitorSelector",
            "ruleSelector",
        )
        found |= {key: spec[key] for key in keys if key in spec}
    return found


def of_dependencies(chart: Path, about: Mapping[str, Any]) -> Document:
    """The defaults of the charts below charts/, under the names that the chart gives them."""
    found: Document = {}
    for each in about.get("dependencies", []):
        file = chart / "charts" / each["name"] / "values.yaml"
        if file.exists():
            found[each.get("alias") or each["name"]] = yaml.safe_load(file.read_text())
    return found


def facts(addon: Addon, chart: Path, source: str) -> Document:
    """The record of one chart. Raises SystemExit for another version than addons.yaml pins."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    if str(about["version"]) != addon.version:
        raise SystemExit(f"{chart} is {about['version']}, k8s/addons/addons.yaml pins {addon.version}")
    defaults = merged(of_dependencies(chart, about), yaml.safe_load((chart / "values.yaml").read_text()))
    stand_in = yaml.safe_load((STAND_INS / addon.name / "values.yaml").read_text())
    used = {path for values in (values_of(addon), stand_in) for path, _ in leaves(values)}
    objects = [summary(document) for document in render(chart, addon) if document["kind"] in KINDS]
    return {
        "chart": addon.chart,
        "version": addon.version,
        "app_version": str(about["appVersion"]),
        "source": source,
        "rendered_with": digest_of(values_of(addon)),
        "defaults": {path: default_of(defaults, path) for path in sorted(used)},
        "rendered": sorted(objects, key=lambda each: (each["kind"], each["name"])),
    }


def pulled(addon: Addon, folder: Path) -> Path:
    """The chart, from its repository."""
    subprocess.run(
        [  # noqa: S607
            "helm", "pull", str(addon.chart), "--repo", str(addon.repo), "--version", str(addon.version), "--untar",
            "--untardir", str(folder),
        ],
        check=True,
    )  # fmt: skip
    return folder / str(addon.chart)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("charts", nargs="*", help="NAME=FOLDER; none: all, pulled")
    parser.add_argument(
        "--source", default="", help="where the folders came from; default: the chart's repository"
    )
    given = parser.parse_args()
    folders = dict(pair.split("=", 1) for pair in given.charts)
    with tempfile.TemporaryDirectory() as temporary:
        for addon in load_addons(ROOT):
            if not addon.chart or (folders and addon.name not in folders):
                continue
            chart = Path(folders[addon.name]) if folders else pulled(addon, Path(temporary))
            record = facts(addon, chart, given.source or f"{addon.repo}, {addon.chart} {addon.version}")
            FACTS.mkdir(exist_ok=True)
            (FACTS / f"{addon.name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

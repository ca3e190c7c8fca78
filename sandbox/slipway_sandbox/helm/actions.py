"""helm's commands over the SDK."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from slipway_sandbox.helm import output


class ActionFailed(Exception):
    """What helm prints after "Error: "."""


def run(arguments: argparse.Namespace, context: Any) -> str:
    """Run the command; returns what goes to stdout. Raises helm's errors and ActionFailed."""
    actions: dict[str, Callable[[argparse.Namespace, Any], str]] = {
        "install": _install,
        "upgrade": _upgrade,
        "history": _history,
        "rollback": _rollback,
        "uninstall": _uninstall,
    }
    return actions[arguments.command](arguments, context)


def _config(arguments: argparse.Namespace) -> Any:
    return helm.Config(
        kubeconfig_path=arguments.kubeconfig,
        kube_context=arguments.kube_context,
        namespace=arguments.namespace,
    )


# ------------------------------------------------------------------ values and charts

_SETTERS = {
    "set_json": helm.parse_set_json,
    "set": helm.parse_set_string,
    "set_string": helm.parse_set_string_values,
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Maps merge key by key, anything else is replaced: helm's rule for several sources of values."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result


def values_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Values files in order, then the --set flags. Raises ActionFailed for a file that is no mapping."""
    values: dict[str, Any] = {}
    for name in arguments.values:
        try:
            document = yaml.safe_load(Path(name).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ActionFailed(f"failed to parse {name}: {error}") from error
        if not isinstance(document, dict):
            raise ActionFailed(
                f"failed to parse {name}: values are a mapping, this is {type(document).__name__}"
            )
        values = merged(values, document)
    for flag, parse in _SETTERS.items():
        for expression in getattr(arguments, flag):
            values = merged(values, parse(expression))
    return values


def _chart(arguments: argparse.Namespace) -> Any:
    """A loaded chart for a local path, else the reference: an oci:// URL, or a name in --repo."""
    if Path(arguments.chart).exists():
        return helm.Chart.load(arguments.chart)
    if arguments.repo or arguments.chart.startswith("oci://"):
        return arguments.chart
    raise ActionFailed(
        f"path {arguments.chart!r} not found (known repositories are not supported: use --repo or oci://)"
    )


# ------------------------------------------------------------------ commands


def _wish(arguments: argparse.Namespace, context: Any) -> dict[str, Any]:
    return {
        "context": context,
        "namespace": arguments.namespace,
        "timeout": arguments.timeout,
        "wait": arguments.wait,
        "description": arguments.description,
        "chart_repo_url": arguments.repo,
        "chart_version": arguments.version,
    }


def _install(arguments: argparse.Namespace, context: Any) -> str:
    with _config(arguments) as config:
        try:
            summary = config.install(
                _chart(arguments),
                arguments.name,
                values_of(arguments),
                create_namespace=arguments.create_namespace,
                **_wish(arguments, context),
            )
        except helm.HelmError as error:
            raise ActionFailed(f"INSTALLATION FAILED: {error}") from error
        return _shown(config, summary, arguments)


def _upgrade(arguments: argparse.Namespace, context: Any) -> str:
    with _config(arguments) as config:
        if arguments.install and not _exists(config, arguments.name):
            return _install(arguments, context)
        try:
            summary = config.upgrade(
                _chart(arguments),
                arguments.name,
                values_of(arguments),
                max_history=arguments.history_max,
                **_wish(arguments, context),
            )
        except helm.HelmError as error:
            raise ActionFailed(f"UPGRADE FAILED: {error}") from error
        return _shown(config, summary, arguments)


def _exists(config: Any, name: str) -> bool:
    try:
        config.history(name, max_revisions=1)
    except helm.HelmNotFoundError:
        return False
    return True


def _shown(config: Any, summary: output.Summary, arguments: argparse.Namespace) -> str:
    document = output.release(summary, config.get_all(summary["name"]))
    return json.dumps(document) if arguments.output == "json" else output.status_text(document)


def _rollback(arguments: argparse.Namespace, _context: Any) -> str:
    with _config(arguments) as config:
        config.rollback(
            arguments.name, version=arguments.revision, timeout=arguments.timeout, wait=arguments.wait
        )
    return "Rollback was a success! Happy Helming!"


def _uninstall(arguments: argparse.Namespace, _context: Any) -> str:
    lines = []
    with _config(arguments) as config:
        for name in arguments.names:
            try:
                answer = config.uninstall(
                    name,
                    timeout=arguments.timeout,
                    ignore_not_found=arguments.ignore_not_found,
                    wait=arguments.wait,
                )
            except helm.HelmNotFoundError as error:
                raise ActionFailed(str(error)) from error
            lines += [text for text in (answer.get("info"), f'release "{name}" uninstalled') if text]
    return "\n".join(lines)


def _history(arguments: argparse.Namespace, _context: Any) -> str:
    with _config(arguments) as config:
        found = config.history(arguments.name, max_revisions=arguments.max)
        # the SDK leaves the description out of a history, and it is what says why a revision failed
        infos = [config.get_all(arguments.name, revision=one["revision"])["info"] for one in found]
    entries = [output.history_entry(one, info) for one, info in zip(found, infos, strict=True)]
    if arguments.output == "json":
        return json.dumps(entries)
    rows = [("REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION")]
    return "\n".join("\t".join(map(str, row)) for row in [*rows, *(entry.values() for entry in entries)])

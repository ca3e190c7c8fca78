"""helm's commands over the SDK."""

from __future__ import annotations

import argparse
import tempfile
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
        "template": _template,
        "status": _status,
        "list": _list,
        "history": _history,
        "rollback": _rollback,
        "uninstall": _uninstall,
        "version": _version,
    }
    return actions[arguments.command](arguments, context)


def _config(arguments: argparse.Namespace) -> Any:
    return helm.Config(
        kubeconfig_path=arguments.kubeconfig,
        kube_context=arguments.kube_context,
        kube_token=arguments.kube_token,
        kube_apiserver=arguments.kube_apiserver,
        kube_ca_file=arguments.kube_ca_file,
        namespace=arguments.namespace,
    )


# ------------------------------------------------------------------ values and charts

_SETTERS = {
    "set_json": helm.parse_set_json,
    "set": helm.parse_set_string,
    "set_string": helm.parse_set_string_values,
    "set_file": helm.parse_set_file,
    "set_literal": helm.parse_set_literal,
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
    for name in (name for listed in arguments.values for name in listed.split(",")):
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


def _source(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "chart_repo_url": arguments.repo,
        "chart_version": arguments.version,
        "plain_http": arguments.plain_http,
    }


# ------------------------------------------------------------------ writing


def _wish(arguments: argparse.Namespace, context: Any) -> dict[str, Any]:
    # a release that is to be rolled back when it does not get ready must be waited for, as helm does it too
    wait = arguments.wait
    if arguments.rollback_on_failure and wait == "hookOnly":
        wait = "watcher"
    return {
        "context": context,
        "namespace": arguments.namespace,
        "timeout": arguments.timeout,
        "wait": wait,
        "dry_run": arguments.dry_run,
        "rollback_on_failure": arguments.rollback_on_failure,
        "description": arguments.description,
        "labels": dict(arguments.labels) or None,
        **_source(arguments),
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
            note = (
                ""
                if arguments.output != "table"
                else (f'Release "{arguments.name}" does not exist. Installing it now.\n')
            )
            return note + _install(arguments, context)
        try:
            summary = config.upgrade(
                _chart(arguments),
                arguments.name,
                values_of(arguments),
                max_history=arguments.history_max,
                reset_values=arguments.reset_values,
                reuse_values=arguments.reuse_values,
                cleanup_on_fail=arguments.cleanup_on_fail,
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
    dry = arguments.dry_run in ("client", "server")
    document = output.release(summary, None if dry else config.get_all(summary["name"]))
    if arguments.output != "table":
        return output.render(document, arguments.output)
    text = output.status_text(document)
    return f"{text}\nMANIFEST:\n{document['manifest']}" if dry else text


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
                    keep_history=arguments.keep_history,
                    timeout=arguments.timeout,
                    ignore_not_found=arguments.ignore_not_found,
                    wait=arguments.wait,
                )
            except helm.HelmNotFoundError as error:
                raise ActionFailed(str(error)) from error
            lines += [text for text in (answer.get("info"), f'release "{name}" uninstalled') if text]
    return "\n".join(lines)


# ------------------------------------------------------------------ reading


def _template(arguments: argparse.Namespace, context: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        chart = _chart(arguments)
        if isinstance(chart, str):
            helm.pull(
                chart,
                destination=folder,
                version=arguments.version,
                repo_url=arguments.repo,
                plain_http=arguments.plain_http,
            )
            [archive] = Path(folder).glob("*.tgz")
            chart = helm.Chart.load(archive)
        values, namespace = values_of(arguments), arguments.namespace or "default"
        with helm.Config(kubeconfig_content="{}", namespace=namespace) as nowhere:
            summary = nowhere.install(
                chart, arguments.name, values, namespace=namespace, dry_run="client", context=context
            )
        rendered = chart.render(values, name=arguments.name, namespace=namespace, is_install=True)
        crds = [crd["data"] for crd in chart.crds] if arguments.include_crds else []
    return "\n".join([*(f"---\n{crd}" for crd in crds), summary["manifest"].rstrip("\n"), *_hooks(rendered)])


def _hooks(rendered: dict[str, str]) -> list[str]:
    """Hooks are no part of a release's manifest, yet `helm template` shows them."""
    return [
        f"---\n# Source: {path}\n{part.strip()}"
        for path, text in sorted(rendered.items())
        if not path.endswith("NOTES.txt")
        for part in text.split("\n---")
        if "helm.sh/hook" in part
    ]


def _status(arguments: argparse.Namespace, _context: Any) -> str:
    with _config(arguments) as config:
        summary = config.status(arguments.name, revision=arguments.revision)
        full = config.get_all(arguments.name, revision=arguments.revision)
    document = output.release(summary, full)
    return (
        output.status_text(document)
        if arguments.output == "table"
        else output.render(document, arguments.output)
    )


def _list(arguments: argparse.Namespace, _context: Any) -> str:
    with _config(arguments) as config:
        found = config.list(
            all_states=arguments.all,
            all_namespaces=arguments.all_namespaces,
            limit=arguments.max,
            name_filter=arguments.filter,
        )
    entries = [output.list_entry(summary) for summary in found]
    if arguments.short:
        return "\n".join(entry["name"] for entry in entries)
    if arguments.output != "table":
        return output.render(entries, arguments.output)
    headings = ("NAME", "NAMESPACE", "REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION")
    return output.table(headings, [list(entry.values()) for entry in entries])


def _history(arguments: argparse.Namespace, _context: Any) -> str:
    with _config(arguments) as config:
        found = config.history(arguments.name, max_revisions=arguments.max)
        # the SDK leaves the description out of a history, and it is what says why a revision failed
        infos = [config.get_all(arguments.name, revision=one["revision"])["info"] for one in found]
    entries = [output.history_entry(one, info) for one, info in zip(found, infos, strict=True)]
    if arguments.output != "table":
        return output.render(entries, arguments.output)
    headings = ("REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION")
    return output.table(headings, [list(entry.values()) for entry in entries])


def _version(arguments: argparse.Namespace, _context: Any) -> str:
    version = helm.helm_sdk_version()
    return version if arguments.short else f'version.BuildInfo{{Version:"{version}", GitTreeState:"clean"}}'

"""Releases as helm prints them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

Summary = dict[str, Any]  # what the SDK answers for a release


def render(document: Any, form: str) -> str:
    """The document as `-o json` or `-o yaml` prints it."""
    return json.dumps(document) if form == "json" else yaml.safe_dump(document, sort_keys=False).rstrip("\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [list(headings), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return "\n".join("\t".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells)


def release(summary: Summary, full: Summary | None = None) -> dict[str, Any]:
    """A release as `helm status -o json` and `helm upgrade -o json` show it; `full` is the SDK's get_all."""
    info = (full or {}).get("info") or {}
    return {
        "name": summary["name"],
        "info": {
            "first_deployed": info.get("first_deployed") or summary.get("deployed_at", ""),
            "last_deployed": info.get("last_deployed") or summary.get("deployed_at", ""),
            "deleted": info.get("deleted") or "",
            "description": info.get("description", ""),
            "status": summary["status"],
            "notes": summary.get("notes", ""),
        },
        "config": (full or {}).get("config") or {},
        "chart": {"metadata": _chart(summary)},
        "manifest": summary.get("manifest", ""),
        "version": summary["revision"],
        "namespace": summary["namespace"],
    }


def _chart(summary: Summary) -> dict[str, Any]:
    return {
        "name": summary.get("chart_name", ""),
        "version": summary.get("chart_version", ""),
        "appVersion": summary.get("app_version", ""),
    }


def chart_label(summary: Summary) -> str:
    return f"{summary.get('chart_name', '')}-{summary.get('chart_version', '')}"


def list_entry(summary: Summary) -> dict[str, Any]:
    """A row of `helm list -o json`: there, and only there, the revision is text."""
    return {
        "name": summary["name"],
        "namespace": summary["namespace"],
        "revision": str(summary["revision"]),
        "updated": summary.get("deployed_at", ""),
        "status": summary["status"],
        "chart": chart_label(summary),
        "app_version": summary.get("app_version", ""),
    }


def history_entry(summary: Summary, info: Summary) -> dict[str, Any]:
    return {
        "revision": summary["revision"],
        "updated": summary.get("deployed_at", ""),
        "status": summary["status"],
        "chart": chart_label(summary),
        "app_version": summary.get("app_version", ""),
        "description": info.get("description", ""),
    }


def status_text(document: dict[str, Any]) -> str:
    info = document["info"]
    lines = [
        f"NAME: {document['name']}",
        f"LAST DEPLOYED: {info['last_deployed']}",
        f"NAMESPACE: {document['namespace']}",
        f"STATUS: {info['status']}",
        f"REVISION: {document['version']}",
        f"DESCRIPTION: {info['description']}",
    ]
    return "\n".join([*lines, *(["NOTES:", info["notes"]] if info["notes"] else [])])

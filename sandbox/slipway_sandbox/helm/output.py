"""Releases as helm prints them."""

from __future__ import annotations

from typing import Any

Summary = dict[str, Any]  # what the SDK answers for a release


def release(summary: Summary, full: Summary) -> dict[str, Any]:
    """A release as `helm upgrade -o json` shows it; `full` is the SDK's get_all."""
    info = full.get("info") or {}
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
        "config": full.get("config") or {},
        "chart": {
            "metadata": {
                "name": summary.get("chart_name", ""),
                "version": summary.get("chart_version", ""),
                "appVersion": summary.get("app_version", ""),
            }
        },
        "manifest": summary.get("manifest", ""),
        "version": summary["revision"],
        "namespace": summary["namespace"],
    }


def history_entry(summary: Summary, info: Summary) -> dict[str, Any]:
    return {
        "revision": summary["revision"],
        "updated": summary.get("deployed_at", ""),
        "status": summary["status"],
        "chart": f"{summary.get('chart_name', '')}-{summary.get('chart_version', '')}",
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

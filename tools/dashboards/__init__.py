"""Grafana dashboards from one Python description: `python -m tools.dashboards` writes k8s/dashboards."""
